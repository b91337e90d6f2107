/** Parked tables as the operator sees them, and the way out of an event that never fits: it goes to quarantine. */
import { MarmotError } from "../../errors.ts";
import type { Value } from "../../wire/value.ts";
import { PARKED_FORMAT, Quarantine } from "../apply/quarantine.ts";
import type { Connection } from "../connection.ts";
import { requestOperatorLook } from "./operator_request.ts";
import { type DecodedMessage, decodeQuarantined } from "./quarantine_box.ts";

export interface ParkedTable {
  /** As the first waiting message names it. */
  readonly table: string;
  /** How many messages wait, and their size. */
  readonly messages: number;
  readonly bytes: number;
  /** Where the first of them stands, and why it waits. */
  readonly stream: string;
  readonly sequence: number;
  readonly reason: string;
}

export interface WaitingMessage {
  readonly id: number;
  readonly stream: string;
  readonly sequence: number;
  readonly origin: string;
  readonly reason: string;
  readonly decoded: DecodedMessage;
}

/** A table that has lost events, because too many waited. */
export interface TableInNeedOfResync {
  readonly table: string;
  readonly lost: number;
  readonly sinceMs: number;
}

/** All parked tables, in the order in which they were parked. */
export function listParkedTables(connection: Connection): ParkedTable[] {
  return connection.statement(
    "SELECT p.table_name, c.messages, c.bytes, p.stream, p.sequence, p.reason FROM __marmot__parked p JOIN " +
      "(SELECT min(id) AS first, count(*) AS messages, total(length(message)) AS bytes FROM __marmot__parked GROUP BY lower(table_name)) c " +
      "ON p.id = c.first ORDER BY p.id",
  ).all().map((row) => ({
    table: String(row[0]),
    messages: Number(row[1]),
    bytes: Number(row[2]),
    stream: String(row[3]),
    sequence: Number(row[4]),
    reason: String(row[5]),
  }));
}

export function listTablesInNeedOfResync(connection: Connection): TableInNeedOfResync[] {
  return connection.statement("SELECT table_name, lost, at_ms FROM __marmot__resync ORDER BY table_name")
    .all()
    .map((row) => ({ table: String(row[0]), lost: Number(row[1]), sinceMs: Number(row[2]) }));
}

/** The first messages of a table that wait, in order. */
export function listWaiting(connection: Connection, table: string, limit: number): WaitingMessage[] {
  return selectWaiting(connection, table, limit).map((row) => ({
    id: Number(row[0]),
    stream: String(row[1]),
    sequence: Number(row[2]),
    origin: String(row[3]),
    reason: String(row[5]),
    decoded: decodeQuarantined(formatOf(row), bytesOf(row)),
  }));
}

/**
 * Moves the first waiting message of a table to quarantine, or all, and returns how many. The node goes on with what waits
 * behind it. `firstId` is the first that the operator has seen: where it is gone by now, nothing is moved.
 */
export function discardWaiting(
  connection: Connection,
  table: string,
  { isAll, nowMs, firstId }: { isAll: boolean; nowMs: number; firstId?: number },
): number {
  return connection.write(() => {
    const quarantine = new Quarantine(connection);
    quarantine.load();
    const rows = selectWaiting(connection, table, isAll ? -1 : 1)
      .filter((row) => firstId === undefined || Number(row[0]) === firstId);
    for (const row of rows) {
      const message = {
        stream: String(row[1]),
        sequence: Number(row[2]),
        subject: String(row[7]),
        format: formatOf(row),
        payload: bytesOf(row),
      };
      quarantine.put(message, {
        reason: `discarded by the operator while it was parked: ${row[5]}`,
        atMs: nowMs,
      });
      connection.statement("DELETE FROM __marmot__parked WHERE id = ?").run([row[0] ?? null]);
    }
    if (rows.length > 0) requestOperatorLook(connection);
    return rows.length;
  });
}

function selectWaiting(connection: Connection, table: string, limit: number): Value[][] {
  return connection.statement(
    "SELECT id, stream, sequence, origin, run, reason, message, table_name FROM __marmot__parked " +
      "WHERE lower(table_name) = lower(?) ORDER BY id LIMIT ?",
  ).all([table, BigInt(limit)]);
}

/** Events of the original are kept as messages, batches without their envelope. */
function formatOf(row: Value[]): string | null {
  return row[4] === null ? null : PARKED_FORMAT;
}

function bytesOf(row: Value[]): Uint8Array {
  const bytes = row[6];
  if (bytes instanceof Uint8Array) return bytes;
  throw new MarmotError("database", `Cannot read a parked message of table "${row[7]}": it holds no bytes`);
}
