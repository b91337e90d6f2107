/**
 * The change log: one narrow entry per touched row, written by the capture triggers in the application's own
 * transactions. Ids ascend and are never used again.
 */
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { ExactSelect } from "../rows/exact_select.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { columnAt, placeholder } from "../rows/row_access.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import { keyTermSql, type TableSchema } from "../schema/schema.ts";
import { CHANGE_LOG, entryKinds, keyWidth, SETTLED } from "../state/state_tables.ts";

export interface LogEntry {
  readonly id: number;
  /** __marmot__table.id. */
  readonly tableId: number;
  /** One of entryKinds. */
  readonly kind: number;
  /** The key, with NULLs behind it up to the width of the log. */
  readonly key: readonly Value[];
}

/** The key that an entry names: of the log's columns as many as the table's key has. */
export function keyOfEntry({ key }: LogEntry, { schema }: ArmedTable): readonly Value[] {
  return key.length === schema.key.length ? key : key.slice(0, schema.key.length);
}

export class ChangeLog {
  #select: ExactSelect | undefined;
  readonly #images = new WeakMap<ArmedTable, ExactSelect>();

  constructor(readonly connection: Connection) {}

  /** Entries behind an id, in order, at most `limit`. Call inside a transaction. */
  read(after: number, limit: number): LogEntry[] {
    this.#select ??= this.#makeSelect();
    return this.#select.all([BigInt(after), BigInt(limit)]).map((row) => ({
      id: Number(row[0]),
      tableId: Number(row[1]),
      kind: Number(row[2]),
      key: row.slice(3),
    }));
  }

  /**
   * The rows that a table's entries from one id to another name, by the entries' ids, as they are now: one statement for
   * all of them. Entries whose row is absent are left out, and those whose key holds NULL. Call inside a transaction.
   */
  readImages(table: ArmedTable, from: number, to: number): Map<number, Value[]> {
    let select = this.#images.get(table);
    if (!select) this.#images.set(table, select = this.#makeImageSelect(table));
    const rows = select.all([BigInt(from), BigInt(to), BigInt(table.id)]);
    return new Map(rows.map((row) => [Number(row[0]), row.slice(1)]));
  }

  /** The highest id ever given, 0 if none was. */
  highestId(): number {
    return this.connection.integer(`SELECT max(id) FROM ${CHANGE_LOG}`);
  }

  /** Whether entries behind an id name one of these tables. */
  names(tableIds: readonly number[], after: number): boolean {
    const sql =
      `SELECT 1 FROM ${CHANGE_LOG} WHERE id > ? AND table_id IN (SELECT value FROM json_each(?)) LIMIT 1`;
    return this.connection.statement(sql).get([BigInt(after), JSON.stringify(tableIds)]) !== undefined;
  }

  /** Whether there are more than `count` entries behind an id. */
  hasMoreThan(count: number, after: number): boolean {
    const sql = `SELECT 1 FROM ${CHANGE_LOG} WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?`;
    return this.connection.statement(sql).get([BigInt(after), BigInt(count)]) !== undefined;
  }

  /** The tables that entries name, by id: one look through all of the log. */
  tableIds(): Set<number> {
    const rows = this.connection.statement(`SELECT DISTINCT table_id FROM ${CHANGE_LOG}`).all();
    return new Set(rows.map((row) => Number(row[0])));
  }

  /** Logs every row of a table as backfill. */
  backfill(table: TableSchema, tableId: number): void {
    const key = table.key.map((position) => columnAt(table, position).sql);
    const columns = key.map((_, i) => `, k${i}`).join("");
    this.connection.exec(
      `INSERT INTO ${CHANGE_LOG} (table_id, kind${columns}) ` +
        `SELECT ${tableId}, ${entryKinds.backfill}, ${key.join(", ")} FROM ${quoteIdentifier(table.name)}`,
    );
  }

  /** Logs one key as backfill: what its row is now, or that there is none. */
  backfillKey(tableId: number, key: readonly Value[]): void {
    const columns = key.map((_, i) => `, k${i}`).join("");
    this.connection.statement(
      `INSERT INTO ${CHANGE_LOG} (table_id, kind${columns}) ` +
        `VALUES (${tableId}, ${entryKinds.backfill}, ${key.map(placeholder).join(", ")})`,
    ).run(key);
  }

  /** Gives the entries of one table to another: the table was made anew under a new id. */
  moveEntries(fromTableId: number, toTableId: number): void {
    for (const table of [CHANGE_LOG, SETTLED]) {
      this.connection.statement(`UPDATE ${table} SET table_id = ? WHERE table_id = ?`)
        .run([BigInt(toTableId), BigInt(fromTableId)]);
    }
  }

  /** Ends all entries of a table that no longer exists. */
  dropEntries(tableId: number): void {
    this.connection.statement(`UPDATE ${CHANGE_LOG} SET kind = ${entryKinds.settled} WHERE table_id = ?`).run(
      [BigInt(tableId)],
    );
  }

  /** Deletes entries, but for the highest id of the log: that one is marked as settled, and returned. */
  delete(ids: readonly number[]): number | undefined {
    const highest = this.highestId();
    let kept: number | undefined;
    for (const [from, to] of ranges(ids)) {
      if (to === highest) {
        this.connection.statement(`UPDATE ${CHANGE_LOG} SET kind = ${entryKinds.settled} WHERE id = ?`).run([
          BigInt(to),
        ]);
        kept = to;
      }
      this.connection.statement(`DELETE FROM ${CHANGE_LOG} WHERE id BETWEEN ? AND ?`)
        .run([BigInt(from), BigInt(to === highest ? to - 1 : to)]);
    }
    return kept;
  }

  /** To be called when the log was widened. */
  forgetStatements(): void {
    this.#select = undefined;
  }

  #makeImageSelect({ schema }: ArmedTable): ExactSelect {
    // Every column by its table: the application's may be called as those of the log are.
    const [entry, row] = ["__marmot__entry", "__marmot__row"];
    const key = schema.key.map((_, i) => `${keyTermSql(schema, i, row)} = ${entry}.k${i}`);
    return new ExactSelect(
      this.connection,
      [`CAST(${entry}.id AS REAL)`, ...schema.columns.map((column) => `${row}.${column.sql}`)],
      `FROM ${CHANGE_LOG} AS ${entry} CROSS JOIN ${quoteIdentifier(schema.name)} AS ${row} ` +
        `WHERE ${entry}.id BETWEEN ? AND ? AND ${entry}.table_id = ? AND ${
          key.join(" AND ")
        } ORDER BY ${entry}.id`,
      1,
    );
  }

  #makeSelect(): ExactSelect {
    const key = Array.from({ length: keyWidth(this.connection) }, (_, i) => `k${i}`);
    // REAL is read as a number, which costs less than a bigint.
    return new ExactSelect(
      this.connection,
      [...["id", "table_id", "kind"].map((column) => `CAST(${column} AS REAL)`), ...key],
      `FROM ${CHANGE_LOG} WHERE id > ? ORDER BY id LIMIT ?`,
      3,
    );
  }
}

/** Runs of consecutive ids, as pairs of first and last. */
export function ranges(ids: readonly number[]): [number, number][] {
  const sorted = [...ids].sort((a, b) => a - b);
  const result: [number, number][] = [];
  for (const id of sorted) {
    const last = result.at(-1);
    if (last && id <= last[1] + 1) last[1] = Math.max(last[1], id);
    else result.push([id, id]);
  }
  return result;
}
