/** What a copy of a database holds, in terms of the streams. It was read from the copy, so it is of the same moment as the rows. */
import { createHash } from "node:crypto";
import { errorText } from "../../errors.ts";
import type { Connection } from "../connection.ts";
import { ChangeLog } from "../capture/change_log.ts";
import { readPause } from "../capture/pause.ts";
import { isReservedName } from "../schema/identifiers.ts";
import { readMerging } from "../state/merge_wish.ts";
import { readMeta } from "../state/meta.ts";
import { CHANGE_LOG, entryKinds, STATE_VERSION } from "../state/state_tables.ts";
import { type StreamPosition, StreamPositions } from "../state/stream_positions.ts";

export interface CopyFacts {
  /** The node that the database was copied from, decimal; '' where it has none yet. */
  readonly nodeId: string;
  /** How far each stream was applied. */
  readonly positions: readonly StreamPosition[];
  /** Highest id of the change log. */
  readonly logTop: number;
  /** Entries up to there that were not published and read back. */
  readonly pending: number;
  /** Equal where the application's tables, indexes, triggers and views are defined by the same text. */
  readonly schemaHash: string;
  /** Layout of Marmot's tables in it. */
  readonly stateVersion: number;
}

/** Reads the facts of a copy. Call before it is stripped. */
export function readCopyFacts(connection: Connection): CopyFacts {
  const positions = new StreamPositions(connection);
  positions.load();
  const log = new ChangeLog(connection);
  return {
    nodeId: String(readMeta(connection, "node_id") ?? ""),
    positions: positions.all(),
    logTop: log.highestId(),
    pending: countPending(connection, Number.MAX_SAFE_INTEGER),
    schemaHash: hashSchema(connection),
    stateVersion: Number(STATE_VERSION),
  };
}

/** Entries of the change log up to an id that were not published and read back. */
export function countPending(connection: Connection, upTo: number): number {
  const count = connection.statement(
    `SELECT count(*) FROM ${CHANGE_LOG} WHERE id <= ? AND kind <> ${entryKinds.settled}`,
  );
  return Number(count.get([BigInt(upTo)])?.[0]);
}

/** Why the rows of this database are not those of the streams at its cursors; undefined where they are. */
export function findObstacle(connection: Connection): string | undefined {
  if (readPause(connection) !== undefined) return "capture is paused, so its changes are not published";
  const has = (table: string) => connection.statement(`SELECT 1 FROM ${table} LIMIT 1`).get() !== undefined;
  if (has("__marmot__hidden")) return "rows of other nodes wait for a clash with local ones to be decided";
  if (has("__marmot__parked")) return "events wait for the schema of their table";
  if (has("__marmot__image WHERE is_done = 0")) {
    return "a table was changed without capture, and what became of its rows is not published yet";
  }
  if (readMerging(connection).length > 0) return "the tables of a snapshot are being taken over";
  if (has("__marmot__resync")) return "events of a table were lost, it needs a new copy";
  return undefined;
}

/** The first thing that is wrong with the file, undefined for a sound one. Reads all of it. */
export function findDamage(
  connection: Connection,
  check: "quick_check" | "integrity_check",
): string | undefined {
  try {
    const result = String(connection.prepare(`PRAGMA ${check}(1)`).get()?.[0] ?? "no answer");
    return result === "ok" ? undefined : result;
  } catch (error) {
    return errorText(error);
  }
}

function hashSchema(connection: Connection): string {
  const hash = createHash("sha256");
  const rows = connection.statement(
    "SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name",
  ).all();
  for (const [type, name, table, sql] of rows) {
    if (isReservedName(String(name))) continue;
    hash.update(JSON.stringify([type, name, table, sql].map(String)));
  }
  return hash.digest("hex");
}
