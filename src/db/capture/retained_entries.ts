/**
 * What this node has published and read back, kept for a while (promise P6): the broker is not the only copy. When a
 * stream turns out to have lost its end, the rows that are named here go out again, as backfill. Per echo one row of
 * __marmot__echo, and in __marmot__settled the keys of the entries that it has settled.
 */
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { placeholder } from "../rows/row_access.ts";
import { CHANGE_LOG, entryKinds, keyWidth, SETTLED } from "../state/state_tables.ts";

/** Where an own message stands, and when the server stored it: '' if unknown. */
export interface Echo {
  readonly stream: string;
  readonly sequence: number;
  readonly storedAt: string;
}

/** Entries are kept while they are younger than `milliseconds`, and the last `entries` of them in any case. */
export interface Retention {
  readonly milliseconds: number;
  readonly entries: number;
}

/** More than that are not kept, however young: the database must not grow without end under an import. */
const MAX_ENTRIES = 1_000_000;
/** What one call of `trim` removes, at most: it is part of a write transaction. */
const TRIM_ECHOES = 64;
const TRIM_ENTRIES = 5_000;

export class RetainedEntries {
  #keyColumns: string[] | undefined;

  constructor(readonly connection: Connection, readonly retention: Retention) {}

  /**
   * Keeps what an echo has settled: entries of the change log by ranges of their ids, before they are deleted from it,
   * and the keys of rows that it has displaced. Call in the write transaction.
   */
  keep(
    echo: Echo,
    { ranges, displaced, atMs }: {
      ranges: readonly (readonly [number, number])[];
      displaced: readonly { readonly tableId: number; readonly key: readonly Value[] }[];
      atMs: number;
    },
  ): void {
    const first = this.#lastId() + 1;
    const columns = ["table_id", ...this.#columns()].join(", ");
    for (const [from, to] of ranges) {
      this.connection.statement(
        `INSERT INTO ${SETTLED} (${columns}) SELECT ${columns} FROM ${CHANGE_LOG} WHERE id BETWEEN ? AND ?`,
      ).run([BigInt(from), BigInt(to)]);
    }
    for (const { tableId, key } of displaced) {
      const names = key.map((_, i) => `, k${i}`).join("");
      const values = key.map((value) => `, ${placeholder(value)}`).join("");
      this.connection.statement(`INSERT INTO ${SETTLED} (table_id${names}) VALUES (?${values})`)
        .run([BigInt(tableId), ...key]);
    }
    this.connection.statement(
      "INSERT INTO __marmot__echo (stream, sequence, stored_at, at_ms, first_id, last_id) VALUES (?, ?, ?, ?, ?, ?)",
    ).run([
      echo.stream,
      BigInt(echo.sequence),
      echo.storedAt,
      BigInt(atMs),
      BigInt(first),
      BigInt(this.#lastId()),
    ]);
  }

  /** The echoes of a stream that can be told from others, in the order of their sequences. */
  echoes(stream: string): Echo[] {
    return this.connection.statement(
      "SELECT sequence, stored_at FROM __marmot__echo WHERE stream = ? AND stored_at <> '' ORDER BY sequence",
    ).all([stream]).map((row) => ({ stream, sequence: Number(row[0]), storedAt: String(row[1]) }));
  }

  /**
   * Logs as backfill what the echoes behind a sequence had settled, forgets those echoes, and returns how many rows
   * that were. Call in a write transaction.
   */
  reopen(stream: string, after: number): number {
    const columns = ["table_id", ...this.#columns()].join(", ");
    const lost = "SELECT first_id, last_id FROM __marmot__echo WHERE stream = ?1 AND sequence > ?2";
    const reopened = this.connection.statement(
      `INSERT INTO ${CHANGE_LOG} (kind, ${columns}) SELECT DISTINCT ${entryKinds.backfill}, ${columns} ` +
        `FROM (${lost}) JOIN ${SETTLED} ON id BETWEEN first_id AND last_id`,
    ).run([stream, BigInt(after)]);
    this.connection.statement(
      `DELETE FROM ${SETTLED} WHERE id IN (SELECT id FROM (${lost}) JOIN ${SETTLED} ON id BETWEEN first_id AND last_id)`,
    ).run([stream, BigInt(after)]);
    this.connection.statement("DELETE FROM __marmot__echo WHERE stream = ? AND sequence > ?")
      .run([stream, BigInt(after)]);
    return reopened;
  }

  /** Forgets what is older than the retention asks for, a bounded part of it. Call in a write transaction. */
  trim(nowMs: number): void {
    const { milliseconds, entries } = this.retention;
    const lastId = this.#lastId();
    const oldest = this.connection.statement(
      `SELECT id, last_id, at_ms FROM __marmot__echo ORDER BY id LIMIT ${TRIM_ECHOES}`,
    ).all();
    let forgotten: readonly [echo: number, entry: number] | undefined;
    for (const row of oldest) {
      const [echo, entry, atMs] = [Number(row[0]), Number(row[1]), Number(row[2])];
      const isOver = nowMs - atMs > milliseconds && entry <= lastId - entries;
      if (!isOver && entry > lastId - MAX_ENTRIES) break;
      if (forgotten && entry - forgotten[1] > TRIM_ENTRIES) break;
      forgotten = [echo, entry];
    }
    if (!forgotten) return;
    this.connection.statement("DELETE FROM __marmot__echo WHERE id <= ?").run([BigInt(forgotten[0])]);
    this.connection.statement(`DELETE FROM ${SETTLED} WHERE id <= ?`).run([BigInt(forgotten[1])]);
  }

  /** To be called when the change log was widened. */
  forgetStatements(): void {
    this.#keyColumns = undefined;
  }

  #lastId(): number {
    return this.connection.integer(`SELECT max(id) FROM ${SETTLED}`);
  }

  #columns(): string[] {
    return this.#keyColumns ??= Array.from({ length: keyWidth(this.connection) }, (_, i) => `k${i}`);
  }
}
