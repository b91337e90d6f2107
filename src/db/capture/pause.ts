/**
 * The pause for a migration. While it lasts the node neither publishes nor applies, and the capture triggers that name
 * columns of UNIQUE indexes are away: SQLite refuses to drop what they name. Those that name key columns alone stay, so
 * what the application writes meanwhile is captured, but for the rows that REPLACE removes by a UNIQUE index: a table that
 * may have lost rows so had an uncaptured window, as one that was rebuilt.
 */
import type { Connection } from "../connection.ts";
import { namesKeyColumnsAlone, tableIdOfTrigger } from "./capture_triggers.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { deleteMeta, readMeta, writeMeta } from "../state/meta.ts";
import { CHANGE_LOG, entryKinds } from "../state/state_tables.ts";

export interface Pause {
  /** When it began, milliseconds since 1970. */
  readonly sinceMs: number;
  /** Capture triggers that were removed just now, of those that may be in a migration's way. */
  readonly triggers: number;
  /** Whether there was a pause before. */
  readonly wasPaused: boolean;
}

/** When the pause began, in milliseconds since 1970; undefined where there is no pause. */
export function readPause(connection: Connection): number | undefined {
  const sinceMs = readMeta(connection, "paused");
  return typeof sinceMs === "bigint" ? Number(sinceMs) : undefined;
}

/** Begins a pause: the triggers that may be in the way go in the same transaction. Throws DatabaseBusyError. */
export function beginPause(connection: Connection, nowMs: number): Pause {
  return connection.write(() => {
    const before = readPause(connection);
    const triggers = captureTriggers(connection);
    const removed = triggers.filter(({ name }) => !namesKeyColumnsAlone(name));
    // Whatever is armed for the schema of before stops at once: its version must move also where nothing is in the way.
    for (const { name } of triggers) connection.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
    for (const { name, sql } of triggers) if (namesKeyColumnsAlone(name)) connection.exec(sql);
    if (before === undefined) writeMeta(connection, "paused", BigInt(nowMs));
    if (readMeta(connection, "pause_top") === undefined) {
      writeMeta(connection, "pause_top", BigInt(highestLogId(connection)));
    }
    return { sinceMs: before ?? nowMs, triggers: removed.length, wasPaused: before !== undefined };
  });
}

/** Ends the pause and returns when it began, undefined where there was none. Throws DatabaseBusyError. */
export function endPause(connection: Connection): number | undefined {
  return connection.write(() => {
    const sinceMs = readPause(connection);
    deleteMeta(connection, "paused");
    return sinceMs;
  });
}

/** Whether a pause has begun behind which the tables were not armed yet. */
export function isPauseOpen(connection: Connection): boolean {
  return readMeta(connection, "pause_top") !== undefined;
}

/**
 * Takes note that the tables are armed after a pause, and returns the highest log id from before it; undefined where there was
 * none since they were armed last. Call in the transaction that arms.
 */
export function closePause(connection: Connection): number | undefined {
  const top = readMeta(connection, "pause_top");
  if (typeof top !== "bigint") return undefined;
  deleteMeta(connection, "pause_top");
  return Number(top);
}

/** Whether the application has written to a table behind a log id. Call in a transaction. */
export function hasChangesBehind(connection: Connection, tableId: number, logId: number): boolean {
  return connection.statement(
    `SELECT 1 FROM ${CHANGE_LOG} WHERE id > ? AND table_id = ? AND kind = ? LIMIT 1`,
  ).get([BigInt(logId), BigInt(tableId), BigInt(entryKinds.change)]) !== undefined;
}

function highestLogId(connection: Connection): number {
  return connection.integer(`SELECT max(id) FROM ${CHANGE_LOG}`);
}

function captureTriggers(connection: Connection): { name: string; sql: string }[] {
  return connection.statement("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger'").all()
    .map(([name, sql]) => ({ name: String(name), sql: String(sql) }))
    .filter(({ name }) => tableIdOfTrigger(name) !== undefined);
}
