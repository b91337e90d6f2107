/**
 * Reading and writing rows of one table by their exact values. Names come from the local schema; the columns of a
 * message reach this file as positions only.
 */
import { SchemaMismatchError } from "../../errors.ts";
import { RawText, type Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { ExactSelect } from "./exact_select.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { type KeyIdentity, keyIdentity } from "../schema/key.ts";
import { type Column, keyTermSql, type TableSchema } from "../schema/schema.ts";

/** How the columns of a message lie on the columns of the local table. */
export interface ColumnMapping {
  /** Positions in the local table, one per column that both have. */
  readonly targets: readonly number[];
  /** Index in the message's rows for each of these. */
  readonly sources: readonly number[];
}

/** How a whole message lies on the local table. */
export interface BatchMapping {
  readonly columns: ColumnMapping;
  /** For each local key column its index in the message's rows. */
  readonly keyInRow: readonly number[];
  /** For each local key column its index in the message's keys. */
  readonly keyInKey: readonly number[];
}

/** The table's name in its own upsert: a table may be called "excluded". */
const ROW = "__marmot__row";

export class RowAccess {
  readonly #table: string;
  readonly #key: readonly Column[];
  readonly #selects = new Map<string, ExactSelect>();
  /** SQL of rows without RawText, by their mapping: the same object for all rows of a message. */
  readonly #inserts = new WeakMap<ColumnMapping, string>();
  readonly #upserts = new WeakMap<ColumnMapping, string>();

  constructor(readonly connection: Connection, readonly schema: TableSchema) {
    this.#table = quoteIdentifier(schema.name);
    this.#key = schema.key.map((position) => columnAt(schema, position));
  }

  /** The whole table's mapping on itself. */
  get allColumns(): ColumnMapping {
    const all = this.schema.columns.map((_, position) => position);
    return { targets: all, sources: all };
  }

  identityOf(key: readonly Value[]): KeyIdentity {
    return keyIdentity(key, this.schema.keyCollations);
  }

  /** The key of a row that has all columns. */
  keyOf(row: readonly Value[]): Value[] {
    return this.schema.key.map((position) => row[position] ?? null);
  }

  /** All rows of the key: at most one, or any number where the key contains NULL. */
  read(key: readonly Value[]): Value[][] {
    const condition = this.#keyCondition(key);
    let select = this.#selects.get(condition);
    if (!select) {
      const order = this.schema.rowidName === null ? "" : ` ORDER BY ${this.schema.rowidName}`;
      const columns = this.schema.columns.map((column) => column.sql);
      select = new ExactSelect(this.connection, columns, `FROM ${this.#table} WHERE ${condition}${order}`);
      this.#selects.set(condition, select);
    }
    return select.all(bound(key));
  }

  has(key: readonly Value[]): boolean {
    return this.connection.statement(`SELECT 1 FROM ${this.#table} WHERE ${this.#keyCondition(key)}`).get(
      bound(key),
    ) !== undefined;
  }

  /**
   * Writes a row: inserts it, or sets all given columns of the row with its key. Throws SchemaMismatchError where
   * the table did not take it.
   */
  upsert(mapping: ColumnMapping, row: readonly Value[]): void {
    this.#change(this.#upsertSql(mapping, row), mapping, row);
  }

  /** Inserts a row beside those that are there. Throws as upsert does. */
  insert(mapping: ColumnMapping, row: readonly Value[]): void {
    this.#change(this.#insertSql(mapping, row), mapping, row);
  }

  /** Deletes the rows of the key, and returns how many there were. */
  delete(key: readonly Value[]): number {
    return this.connection.statement(`DELETE FROM ${this.#table} WHERE ${this.#keyCondition(key)}`).run(
      bound(key),
    );
  }

  /** Compiles the statements that applying needs, to find what they reach and whether they compile. */
  compileWrites(): void {
    const key = this.#key.map(() => 0n);
    const row = this.schema.columns.map(() => 0n);
    this.connection.prepare(this.#upsertSql(this.allColumns, row));
    this.connection.prepare(`DELETE FROM ${this.#table} WHERE ${this.#keyCondition(key)}`);
  }

  #change(sql: string, mapping: ColumnMapping, row: readonly Value[]): void {
    const changed = this.connection.statement(sql).run(mapping.sources.map((source) => row[source] ?? null));
    if (changed === 1) return;
    throw new SchemaMismatchError(
      `Cannot write a row of table "${this.schema.name}": SQLite dropped it in silence (an ON CONFLICT IGNORE in its declaration?)`,
    );
  }

  #upsertSql(mapping: ColumnMapping, row: readonly Value[]): string {
    const isPlain = !row.some((value) => value instanceof RawText);
    const known = isPlain ? this.#upserts.get(mapping) : undefined;
    if (known !== undefined) return known;
    const set = mapping.targets.map((position) => columnAt(this.schema, position).sql).map((sql) =>
      `${sql} = excluded.${sql}`
    );
    const target = this.#key.map((column) => column.sql).join(", ");
    const sql = `${this.#insertSql(mapping, row)} ON CONFLICT (${target}) DO UPDATE SET ${set.join(", ")}`;
    if (isPlain) this.#upserts.set(mapping, sql);
    return sql;
  }

  #insertSql(mapping: ColumnMapping, row: readonly Value[]): string {
    const isPlain = !row.some((value) => value instanceof RawText);
    const known = isPlain ? this.#inserts.get(mapping) : undefined;
    if (known !== undefined) return known;
    const columns = mapping.targets.map((position) => columnAt(this.schema, position).sql);
    const values = mapping.sources.map((source) => placeholder(row[source] ?? null));
    const sql = `INSERT INTO ${this.#table} AS ${ROW} (${columns.join(", ")}) VALUES (${values.join(", ")})`;
    if (isPlain) this.#inserts.set(mapping, sql);
    return sql;
  }

  #keyCondition(key: readonly Value[]): string {
    return this.#key.map((column, i) => {
      const value = key[i] ?? null;
      if (value === null) return `${column.sql} IS NULL`;
      return `${keyTermSql(this.schema, i)} = ${placeholder(value)}`;
    }).join(" AND ");
  }
}

/** TEXT that no JavaScript string carries is bound as bytes. */
export function placeholder(value: Value): string {
  return value instanceof RawText ? "CAST(? AS TEXT)" : "?";
}

export function columnAt(schema: TableSchema, position: number): Column {
  const column = schema.columns[position];
  if (!column) throw new RangeError(`table ${schema.name} has no column at ${position}`);
  return column;
}

function bound(key: readonly Value[]): Value[] {
  return key.filter((value) => value !== null);
}
