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
/** Rows that one statement writes, as many as fit: calling into SQLite costs more than what a row does there. */
const ROWS_AT_ONCE = [32, 8];
const MAX_VALUES_AT_ONCE = 1024;

export class RowAccess {
  readonly #table: string;
  readonly #key: readonly Column[];
  readonly #selects = new Map<string, ExactSelect>();
  /** SQL of rows without RawText, by their mapping: the same object for all rows of a message. */
  readonly #inserts = new WeakMap<ColumnMapping, string>();
  readonly #upserts = new WeakMap<ColumnMapping, string>();
  /** The same for several rows, by how many. */
  readonly #upsertsAtOnce = new WeakMap<ColumnMapping, Map<number, string>>();

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

  /** Writes rows one after the other as `upsert` does, many with one statement. Throws as upsert does. */
  upsertAll(mapping: ColumnMapping, rows: readonly (readonly Value[])[]): void {
    let at = 0;
    for (const count of ROWS_AT_ONCE) {
      if (count * mapping.sources.length > MAX_VALUES_AT_ONCE) continue;
      for (; rows.length - at >= count; at += count) this.#upsertSome(mapping, rows.slice(at, at + count));
    }
    for (; at < rows.length; at++) this.upsert(mapping, rows[at] ?? []);
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

  #upsertSome(mapping: ColumnMapping, rows: readonly (readonly Value[])[]): void {
    if (rows.some((row) => row.some((value) => value instanceof RawText))) {
      for (const row of rows) this.upsert(mapping, row);
      return;
    }
    let known = this.#upsertsAtOnce.get(mapping);
    if (!known) this.#upsertsAtOnce.set(mapping, known = new Map());
    let sql = known.get(rows.length);
    if (sql === undefined) known.set(rows.length, sql = this.#upsertSql(mapping, rows[0] ?? [], rows.length));
    const values: Value[] = [];
    for (const row of rows) for (const source of mapping.sources) values.push(row[source] ?? null);
    this.#assertChanged(this.connection.statement(sql).run(values), rows.length);
  }

  #change(sql: string, mapping: ColumnMapping, row: readonly Value[]): void {
    const values = mapping.sources.map((source) => row[source] ?? null);
    this.#assertChanged(this.connection.statement(sql).run(values), 1);
  }

  #assertChanged(changed: number, rows: number): void {
    if (changed === rows) return;
    throw new SchemaMismatchError(
      `Cannot write a row of table "${this.schema.name}": SQLite dropped it in silence (an ON CONFLICT IGNORE in its declaration?)`,
    );
  }

  /** `rows`: how many rows like this one the statement takes. */
  #upsertSql(mapping: ColumnMapping, row: readonly Value[], rows = 1): string {
    const isPlain = rows === 1 && !row.some((value) => value instanceof RawText);
    const known = isPlain ? this.#upserts.get(mapping) : undefined;
    if (known !== undefined) return known;
    const set = mapping.targets.map((position) => columnAt(this.schema, position).sql).map((sql) =>
      `${sql} = excluded.${sql}`
    );
    const target = this.#key.map((column) => column.sql).join(", ");
    const insert = rows === 1 ? this.#insertSql(mapping, row) : this.#makeInsertSql(mapping, row, rows);
    const sql = `${insert} ON CONFLICT (${target}) DO UPDATE SET ${set.join(", ")}`;
    if (isPlain) this.#upserts.set(mapping, sql);
    return sql;
  }

  #insertSql(mapping: ColumnMapping, row: readonly Value[]): string {
    const isPlain = !row.some((value) => value instanceof RawText);
    const known = isPlain ? this.#inserts.get(mapping) : undefined;
    if (known !== undefined) return known;
    const sql = this.#makeInsertSql(mapping, row, 1);
    if (isPlain) this.#inserts.set(mapping, sql);
    return sql;
  }

  #makeInsertSql(mapping: ColumnMapping, row: readonly Value[], rows: number): string {
    const columns = mapping.targets.map((position) => columnAt(this.schema, position).sql);
    const values = `(${mapping.sources.map((source) => placeholder(row[source] ?? null)).join(", ")})`;
    const all = Array.from({ length: rows }, () => values).join(", ");
    return `INSERT INTO ${this.#table} AS ${ROW} (${columns.join(", ")}) VALUES ${all}`;
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
