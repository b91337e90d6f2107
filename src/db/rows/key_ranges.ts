/**
 * Ranges of a table's keys, in the order of the index on the key: (after, upTo]. Keys that hold NULL have no place in that
 * order; they count as the beginning of the first range.
 */
import { RawText, type Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { hasNull } from "../schema/key.ts";
import { keyTermSql, type TableSchema } from "../schema/schema.ts";
import { ExactSelect } from "./exact_select.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { columnAt } from "./row_access.ts";

export interface KeyRange {
  /** The range begins behind this key, which holds no NULL; null: with the first. */
  readonly after: readonly Value[] | null;
  /** The range ends with this key, which holds no NULL; null: with the last. */
  readonly upTo: readonly Value[] | null;
}

export class KeyRanges {
  readonly #connection: Connection;
  readonly #schema: TableSchema;
  readonly #selects = new Map<string, ExactSelect>();

  constructor(connection: Connection, schema: TableSchema) {
    this.#connection = connection;
    this.#schema = schema;
  }

  /** The first keys of a range, in order, without those that hold NULL. */
  keys(range: KeyRange, limit: number): Value[][] {
    return this.#find(range, this.#keyColumns(), limit);
  }

  #find(range: KeyRange, columns: readonly string[], limit: number | undefined): Value[][] {
    const terms = this.#schema.key.map((_, i) => keyTermSql(this.#schema, i));
    const conditions = this.#schema.keyKind === "declared" ? terms.map((term) => `${term} IS NOT NULL`) : [];
    const parameters: Value[] = [];
    for (const { operator, key } of endsOf(range)) {
      if (key.length > 1) {
        // Said once more of the first column alone: SQLite finds the place in the index by that.
        conditions.push(`${terms[0]} ${operator === ">" ? ">=" : "<="} ${operand(key[0] ?? null)}`);
        parameters.push(key[0] ?? null);
      }
      conditions.push(`${tuple(terms)} ${operator} ${tuple(key.map(operand))}`);
      parameters.push(...key);
    }
    const where = conditions.length > 0 ? `WHERE ${conditions.join(" AND ")} ` : "";
    const tail = `${where}ORDER BY ${terms.join(", ")}`;
    if (limit === undefined) return this.#select(columns, tail).all(parameters);
    return this.#select(columns, `${tail} LIMIT ?`).all([...parameters, BigInt(limit)]);
  }

  /** All rows of a range in the order of their keys, without those whose key holds NULL. */
  rows(range: KeyRange): Value[][] {
    return this.#find(range, this.#schema.columns.map((column) => column.sql), undefined);
  }

  /** The keys that hold NULL, one for each row. */
  keysWithNull(): Value[][] {
    if (this.#schema.keyKind !== "declared") return [];
    const conditions = this.#schema.key.map((_, i) => `${keyTermSql(this.#schema, i)} IS NULL`);
    return this.#select(this.#keyColumns(), `WHERE ${conditions.join(" OR ")}`).all([]);
  }

  /** Whether a key lies in a range. */
  contains(range: KeyRange, key: readonly Value[]): boolean {
    if (hasNull(key)) return range.after === null;
    const terms = key.map((value, i) =>
      `${operand(value)} COLLATE ${quoteIdentifier(this.#schema.keyCollations[i] ?? "BINARY")}`
    );
    return endsOf(range).every((end) => {
      const sql = `SELECT ${tuple(terms)} ${end.operator} ${tuple(end.key.map(operand))}`;
      return this.#connection.statement(sql).get([...key, ...end.key])?.[0] === 1n;
    });
  }

  countRows(): number {
    return this.#connection.integer(`SELECT count(*) FROM ${quoteIdentifier(this.#schema.name)}`);
  }

  #keyColumns(): string[] {
    return this.#schema.key.map((position) => columnAt(this.#schema, position).sql);
  }

  #select(columns: readonly string[], tail: string): ExactSelect {
    const name = `${columns.join()} ${tail}`;
    let select = this.#selects.get(name);
    if (!select) {
      select = new ExactSelect(
        this.#connection,
        columns,
        `FROM ${quoteIdentifier(this.#schema.name)} ${tail}`,
      );
      this.#selects.set(name, select);
    }
    return select;
  }
}

/** Equal for two tables exactly if they order keys alike: by column, affinity and collation. */
export function keyOrderOf(schema: TableSchema): string {
  return JSON.stringify(schema.key.map((position, i) => {
    const { name, declaredType } = columnAt(schema, position);
    const affinity = schema.keyKind === "declared" ? affinityOf(declaredType) : "INTEGER";
    return [name === null ? "rowid" : affinity, (schema.keyCollations[i] ?? "BINARY").toUpperCase()];
  }));
}

/** Source: https://www.sqlite.org/datatype3.html, section 3.1. */
function affinityOf(declaredType: string): string {
  if (/INT/i.test(declaredType)) return "INTEGER";
  if (/CHAR|CLOB|TEXT/i.test(declaredType)) return "TEXT";
  if (declaredType === "" || /BLOB/i.test(declaredType)) return "BLOB";
  return /REAL|FLOA|DOUB/i.test(declaredType) ? "REAL" : "NUMERIC";
}

function endsOf({ after, upTo }: KeyRange): { operator: ">" | "<="; key: readonly Value[] }[] {
  return [
    ...(after === null ? [] : [{ operator: ">" as const, key: after }]),
    ...(upTo === null ? [] : [{ operator: "<=" as const, key: upTo }]),
  ];
}

function tuple(terms: readonly string[]): string {
  return terms.length === 1 ? terms.join() : `(${terms.join(", ")})`;
}

/** Without an affinity of its own: a CAST has one, which SQLite would lend to the other side. */
function operand(value: Value): string {
  return value instanceof RawText ? "+CAST(? AS TEXT)" : "?";
}
