/**
 * A SELECT whose values are exact. node:sqlite cuts TEXT at NUL and turns broken UTF-8 into U+FFFD, so a query
 * is run in plain form with a suspicion flag, and once more with TEXT as bytes where a value is suspicious. Wide rows
 * are read in slices (SQLITE_MAX_COLUMN is 2,000). Run it inside a transaction: both runs must see one snapshot.
 */
import { RawText, type Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";

const COLUMNS_PER_SLICE = 400;
const REPLACEMENT_CHARACTER = "\uFFFD";
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class ExactSelect {
  readonly #slices: { plain: string; exact: string; width: number }[] = [];

  /**
   * `columns` are SQL expressions, `tail` is the rest of the query from FROM on, with a fixed order of rows. The first
   * `integers` columns never hold TEXT.
   */
  constructor(readonly connection: Connection, columns: readonly string[], tail: string, integers = 0) {
    for (let at = 0; at < columns.length; at += COLUMNS_PER_SLICE) {
      const slice = columns.slice(at, at + COLUMNS_PER_SLICE);
      const suspects = slice.slice(Math.max(0, integers - at));
      this.#slices.push({
        plain: `SELECT ${slice.join(", ")}, ${hasNul(suspects)} ${tail}`,
        exact: `SELECT ${slice.map(asBytes).join(", ")} ${tail}`,
        width: slice.length,
      });
    }
  }

  all(parameters: readonly Value[]): Value[][] {
    let rows: Value[][] | undefined;
    for (const slice of this.#slices) {
      let part = this.connection.statement(slice.plain).all(parameters);
      if (part.some((row) => isSuspicious(row, slice.width))) {
        part = this.connection.statement(slice.exact).all(parameters).map((row) =>
          decodeBytes(row, slice.width)
        );
      } else {
        for (const row of part) row.length = slice.width;
      }
      rows = rows ? rows.map((row, index) => row.concat(part[index] ?? [])) : part;
    }
    return rows ?? [];
  }
}

/** One flag for a slice; groups keep the expression flat (SQLITE_MAX_EXPR_DEPTH is 1,000). */
function hasNul(columns: readonly string[]): string {
  // Numbers sort before TEXT and TEXT before BLOB: cheaper than typeof(). Source: https://www.sqlite.org/datatype3.html, section 4.1.
  const checks = columns.map((column) =>
    `(+${column} COLLATE BINARY BETWEEN '' AND x'' AND instr(${column}, char(0)) > 0)`
  );
  const groups: string[] = [];
  for (let at = 0; at < checks.length; at += 20) groups.push(`(${checks.slice(at, at + 20).join(" OR ")})`);
  // NULL when nothing is suspicious: cheaper for the runtime than a number.
  return groups.length === 0 ? "NULL" : `CASE WHEN ${groups.join(" OR ")} THEN 1 END`;
}

function asBytes(column: string): string {
  return `typeof(${column}), CASE typeof(${column}) WHEN 'text' THEN CAST(${column} AS BLOB) ELSE ${column} END`;
}

function isSuspicious(row: readonly Value[], width: number): boolean {
  if (row[width] !== null) return true;
  for (let i = 0; i < width; i++) {
    const value = row[i];
    if (typeof value === "string" && value.includes(REPLACEMENT_CHARACTER)) return true;
  }
  return false;
}

function decodeBytes(row: readonly Value[], width: number): Value[] {
  return Array.from({ length: width }, (_, i) => {
    const value = row[2 * i + 1] ?? null;
    return row[2 * i] === "text" && value instanceof Uint8Array ? decodeText(value) : value;
  });
}

/** TEXT from its bytes. */
export function decodeText(bytes: Uint8Array): string | RawText {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return new RawText(bytes);
  }
}
