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
  | "last_run"
  | "is_armed";

export function readMeta(connection: Connection, name: MetaName): Value | undefined {
  return connection.statement("SELECT value FROM __marmot__meta WHERE name = ?").get([name])?.[0];
}

export function writeMeta(connection: Connection, name: MetaName, value: Value): void {
  connection.statement(
    "INSERT INTO __marmot__meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
  ).run([name, value]);
}

/** The node id that this database was last used with. */
export function readNodeId(connection: Connection): NodeId | undefined {
  const text = readMeta(connection, "node_id");
  return typeof text === "string" ? BigInt(text) : undefined;
}

/**
 * Nodes whose file this one was copied from, each with the highest change log id that is known to have come with the
 * copy: their events up to that id settle entries that came with it. A database that was last used with another id than
 * this is a copy of that node's: what was captured behind the id on record may be the copy's own, and is published.
 */
export function parentsOf(connection: Connection, nodeId: NodeId): Map<NodeId, number> {
  const text = readMeta(connection, "parents");
  const pairs: [string, number][] = typeof text === "string" ? JSON.parse(text) : [];
  const parents = new Map(pairs.map(([id, top]) => [BigInt(id), top]));
  const former = readNodeId(connection);
  if (former === undefined || former === nodeId) return parents;
  parents.set(former, readLogTop(connection));
  parents.delete(nodeId);
  return parents;
}

/** Puts an id on record, and where the file came from. */
export function takeNodeId(connection: Connection, nodeId: NodeId): void {
  const parents = [...parentsOf(connection, nodeId)].map(([id, top]) => [id.toString(), top]);
  writeMeta(connection, "parents", JSON.stringify(parents));
  writeMeta(connection, "node_id", nodeId.toString());
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
