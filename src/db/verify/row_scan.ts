/**
 * Reads all rows of a table with the exact bytes of their values, one row in memory at a time. TEXT comes as its UTF-8
 * bytes: node:sqlite would cut it at NUL and repair what is not UTF-8. Rows come in the order of the table's own tree.
 * Call inside a read transaction, which must stay open until the end of the scan.
 */
import { Buffer } from "node:buffer";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { decodeText } from "../rows/exact_select.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";

/** Columns of one query: SQLITE_MAX_COLUMN is 2,000, and each 30 columns take one more that tells TEXT from BLOB. */
const COLUMNS_PER_SLICE = 900;
const COLUMNS_PER_MASK = 30;

/** One row: its values, TEXT as bytes, and which of the Uint8Arrays are TEXT. */
export interface ScannedRow {
  readonly values: (null | bigint | number | Uint8Array)[];
  readonly isText: boolean[];
}

/** Scans `columns`, SQL names of the table's columns. The row that is given is the same object each time. */
export function* scanRows(
  connection: Connection,
  table: string,
  columns: readonly string[],
): Generator<ScannedRow> {
  const recode = recoder(String(connection.statement("PRAGMA encoding").get()?.[0]));
  const slices = slicesOf(columns);
  // Without the table's indexes, so that all slices come in one order.
  const scans = slices.map((slice) =>
    connection.prepare(`SELECT ${selectList(slice)} FROM ${quoteIdentifier(table)} NOT INDEXED`).iterate()
  );
  const row: ScannedRow = { values: columns.map(() => null), isText: columns.map(() => false) };
  try {
    for (;;) {
      let offset = 0;
      for (const [i, scan] of scans.entries()) {
        const { value, done } = scan.next();
        if (done) return;
        takeSlice(row, value, { offset, width: slices[i]!.length, recode });
        offset += slices[i]!.length;
      }
      yield row;
    }
  } finally {
    for (const scan of scans) scan.return(undefined);
  }
}

/** A value of a scanned row as the rest of Marmot holds it. */
export function valueAt({ values, isText }: ScannedRow, position: number): Value {
  const value = values[position] ?? null;
  return isText[position] && value instanceof Uint8Array ? decodeText(value) : value;
}

function slicesOf(columns: readonly string[]): string[][] {
  const slices: string[][] = [];
  for (let at = 0; at < columns.length; at += COLUMNS_PER_SLICE) {
    slices.push(columns.slice(at, at + COLUMNS_PER_SLICE));
  }
  return slices;
}

function selectList(slice: readonly string[]): string {
  const values = slice.map((c) => `CASE typeof(${c}) WHEN 'text' THEN CAST(${c} AS BLOB) ELSE ${c} END`);
  const masks: string[] = [];
  for (let at = 0; at < slice.length; at += COLUMNS_PER_MASK) {
    const bits = slice.slice(at, at + COLUMNS_PER_MASK).map((c, i) => `((typeof(${c}) = 'text') << ${i})`);
    masks.push(bits.join(" | "));
  }
  return [...values, ...masks].join(", ");
}

interface Slice {
  readonly offset: number;
  readonly width: number;
  readonly recode: ((bytes: Uint8Array) => Uint8Array) | undefined;
}

function takeSlice(row: ScannedRow, source: readonly Value[], { offset, width, recode }: Slice): void {
  let mask = 0;
  for (let i = 0; i < width; i++) {
    const bit = i % COLUMNS_PER_MASK;
    if (bit === 0) mask = Number(source[width + i / COLUMNS_PER_MASK]);
    const value = source[i] as null | bigint | number | Uint8Array;
    const isText = (mask & (1 << bit)) !== 0;
    row.isText[offset + i] = isText;
    row.values[offset + i] = isText && recode && value instanceof Uint8Array ? recode(value) : value;
  }
}

/** How the bytes of TEXT become UTF-8, undefined where they are. What is not sound UTF-16 keeps its bytes. */
function recoder(encoding: string): ((bytes: Uint8Array) => Uint8Array) | undefined {
  if (encoding === "UTF-8") return undefined;
  const decoder = new TextDecoder(encoding === "UTF-16be" ? "utf-16be" : "utf-16le", {
    fatal: true,
    ignoreBOM: true,
  });
  return (bytes) => {
    try {
      return Buffer.from(decoder.decode(bytes));
    } catch {
      return bytes;
    }
  };
}
