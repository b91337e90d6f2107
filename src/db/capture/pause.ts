/**
 * The pause for a migration. While it lasts no table has capture triggers, so that the application may change its schema
 * as if Marmot were not there, and the node neither publishes nor applies. What was written meanwhile was not
 * captured: arming treats it as an uncaptured window when the pause ends.
 */
import type { Connection } from "../connection.ts";
import { tableIdOfTrigger } from "./capture_triggers.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { deleteMeta, readMeta, writeMeta } from "../state/meta.ts";

export interface Pause {
  /** When it began, milliseconds since 1970. */
  readonly sinceMs: number;
  /** Capture triggers that were removed just now. */
  readonly triggers: number;
  /** Whether capture was paused before. */
  readonly wasPaused: boolean;
}

/** When the pause began, in milliseconds since 1970; undefined where capture is not paused. */
export function readPause(connection: Connection): number | undefined {
  const sinceMs = readMeta(connection, "paused");
  return typeof sinceMs === "bigint" ? Number(sinceMs) : undefined;
}

/** Begins a pause: the capture triggers go in the same transaction. Throws DatabaseBusyError. */
export function beginPause(connection: Connection, nowMs: number): Pause {
  return connection.write(() => {
    const before = readPause(connection);
    const triggers = captureTriggerNames(connection);
    for (const name of triggers) connection.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
    if (before === undefined) writeMeta(connection, "paused", BigInt(nowMs));
    return { sinceMs: before ?? nowMs, triggers: triggers.length, wasPaused: before !== undefined };
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

/** The names of all capture triggers that there are. */
export function captureTriggerNames(connection: Connection): string[] {
  return connection.statement("SELECT name FROM main.sqlite_schema WHERE type = 'trigger'").all()
    .map((row) => String(row[0]))
    .filter((name) => tableIdOfTrigger(name) !== undefined);
}
