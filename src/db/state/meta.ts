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
 * Nodes whose file this one was copied from, each with the highest change log id that is known to have come with
 * the copy: their events up to that id settle entries that came with it.
 */
export function readParents(connection: Connection): Map<NodeId, number> {
  const text = readMeta(connection, "parents");
  const pairs: [string, number][] = typeof text === "string" ? JSON.parse(text) : [];
  return new Map(pairs.map(([id, top]) => [BigInt(id), top]));
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

/**
 * Takes an id. A database that was used with another id is a copy of that node's: it becomes a parent, of the entries
 * up to the one on record. What was captured behind that may be the copy's own, and is published.
 */
export function takeNodeId(connection: Connection, nodeId: NodeId): void {
  const former = readNodeId(connection);
  if (former !== undefined && former !== nodeId) {
    const parents = readParents(connection);
    parents.set(former, readLogTop(connection));
    parents.delete(nodeId);
    writeMeta(connection, "parents", JSON.stringify([...parents].map(([id, top]) => [id.toString(), top])));
  }
  writeMeta(connection, "node_id", nodeId.toString());
}
