/** Facts about this database, by name. */
import type { NodeId } from "../../wire/batch.ts";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";

/** Names of the facts; compatibility constants. */
export type MetaName =
  | "node_id"
  | "file_identity"
  | "parents"
  | "state_version"
  | "last_run"
  | "is_armed"
  | "last_image";

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
 * Nodes whose file this one was copied from, each with the highest change log id that the copy held: their
 * events up to that id settle entries that came with the copy.
 */
export function readParents(connection: Connection): Map<NodeId, number> {
  const text = readMeta(connection, "parents");
  const pairs: [string, number][] = typeof text === "string" ? JSON.parse(text) : [];
  return new Map(pairs.map(([id, top]) => [BigInt(id), top]));
}

/** Takes an id. A database that was used with another id is a copy of that node's: it becomes a parent. */
export function takeNodeId(connection: Connection, nodeId: NodeId, highestLogId: number): void {
  const former = readNodeId(connection);
  if (former !== undefined && former !== nodeId) {
    const parents = readParents(connection);
    parents.set(former, highestLogId);
    parents.delete(nodeId);
    writeMeta(connection, "parents", JSON.stringify([...parents].map(([id, top]) => [id.toString(), top])));
  }
  writeMeta(connection, "node_id", nodeId.toString());
}
