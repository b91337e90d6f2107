/** Facts about this database, by name. */
import type { NodeId } from "../../wire/batch.ts";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";

/** Names of the facts; compatibility constants. */
export type MetaName =
  | "node_id"
  | "file_identity"
  | "parents"
  | "log_top"
  | "state_version"
  | "first_run"
  | "last_run"
  | "is_armed"
  | "armed_schema"
  | "paused"
  | "pause_top"
  | "operator_request"
  | "last_image"
  | "merge_wish"
  | "merging"
  | "resync"
  | "snapshot";

export function readMeta(connection: Connection, name: MetaName): Value | undefined {
  return connection.statement("SELECT value FROM __marmot__meta WHERE name = ?").get([name])?.[0];
}

export function writeMeta(connection: Connection, name: MetaName, value: Value): void {
  connection.statement(
    "INSERT INTO __marmot__meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
  ).run([name, value]);
}

export function deleteMeta(connection: Connection, name: MetaName): void {
  connection.statement("DELETE FROM __marmot__meta WHERE name = ?").run([name]);
}

/** The node id that this database was last used with. */
export function readNodeId(connection: Connection): NodeId | undefined {
  const text = readMeta(connection, "node_id");
  return typeof text === "string" ? BigInt(text) : undefined;
}

/** What a file that was copied has on record of the node that it was copied from. */
export interface Parent {
  /** The highest change log id that is known to have come with the copy. */
  readonly top: number;
  /** The node's last run at that time: of its later runs nothing is known, they may be a copy's as well. */
  readonly run: number;
}

/**
 * Nodes whose file this one was copied from: their events up to what is on record settle entries that came with the
 * copy. A database that was last used with another id than this is a copy of that node's. What was captured behind the id
 * on record may be the copy's own, and is published.
 */
export function parentsOf(connection: Connection, nodeId: NodeId): Map<NodeId, Parent> {
  const text = readMeta(connection, "parents");
  const rows: [string, number, number?][] = typeof text === "string" ? JSON.parse(text) : [];
  const parents = new Map(rows.map(([id, top, run = 0]) => [BigInt(id), { top, run }]));
  const former = readNodeId(connection);
  if (former === undefined || former === nodeId) return parents;
  parents.set(former, { top: readLogTop(connection), run: readLastRun(connection) });
  parents.delete(nodeId);
  return parents;
}

/** Puts an id and its run on record, and where the file came from. */
export function takeNodeId(connection: Connection, nodeId: NodeId, run: number): void {
  writeMeta(connection, "first_run", BigInt(firstRunOf(connection, nodeId, run)));
  const parents = [...parentsOf(connection, nodeId)].map(([id, { top, run }]) => [id.toString(), top, run]);
  writeMeta(connection, "parents", JSON.stringify(parents));
  writeMeta(connection, "node_id", nodeId.toString());
  writeMeta(connection, "last_run", BigInt(run));
}

/**
 * The run in which this id's entries began to come into the change log of this file, `run` if that is now. What the id
 * has published before tells of other entries, in a file that was lost, or from before a -cleanup: log ids come twice.
 */
export function firstRunOf(connection: Connection, nodeId: NodeId, run: number): number {
  return readNodeId(connection) === nodeId ? Number(readMeta(connection, "first_run") ?? 0n) : run;
}

/** The last run of this database's node, 0 before the first. */
export function readLastRun(connection: Connection): number {
  return Number(readMeta(connection, "last_run") ?? 0n);
}

/**
 * Puts the highest change log id on record, so that a copy of the file knows which entries are not its own. Only a
 * node that is sure of its id may do so.
 */
export function recordLogTop(connection: Connection, highestLogId: number): void {
  if (readLogTop(connection) !== highestLogId) writeMeta(connection, "log_top", BigInt(highestLogId));
}

function readLogTop(connection: Connection): number {
  return Number(readMeta(connection, "log_top") ?? 0n);
}
