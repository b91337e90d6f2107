/** Streams of which this node has to take over a snapshot, put on record by an operator's command: the node takes it up where it is. */
import type { Connection } from "../connection.ts";
import { deleteMeta, readMeta, writeMeta } from "./meta.ts";

/** Names of the streams; empty where nothing is wished. */
export function readMergeWish(connection: Connection): string[] {
  const text = readMeta(connection, "merge_wish");
  return typeof text === "string" ? JSON.parse(text) : [];
}

/** Replaces what was wished before. Call in a write transaction. */
export function writeMergeWish(connection: Connection, streams: readonly string[]): void {
  if (streams.length === 0) deleteMeta(connection, "merge_wish");
  else writeMeta(connection, "merge_wish", JSON.stringify(streams));
}
