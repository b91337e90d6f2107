/**
 * Streams of which this node takes over a snapshot. A wish is put on record by an operator's command. What was begun is on
 * record too until it is done: the tables are a mixture meanwhile, and a node that was killed begins again.
 */
import type { Connection } from "../connection.ts";
import { deleteMeta, type MetaName, readMeta, writeMeta } from "./meta.ts";

/** Names of the streams; empty where nothing is wished. */
export function readMergeWish(connection: Connection): string[] {
  return readNames(connection, "merge_wish");
}

/** Replaces what was wished before. Call in a write transaction. */
export function writeMergeWish(connection: Connection, streams: readonly string[]): void {
  writeNames(connection, "merge_wish", streams);
}

/** Forgets the wish of a stream; false where there is none, or it was begun. Call in a write transaction. */
export function dropMergeWish(connection: Connection, stream: string): boolean {
  const wished = readMergeWish(connection);
  if (!wished.includes(stream) || readMerging(connection).includes(stream)) return false;
  writeMergeWish(connection, wished.filter((name) => name !== stream));
  return true;
}

/** Names of the streams of which a snapshot is taken over now. */
export function readMerging(connection: Connection): string[] {
  return readNames(connection, "merging");
}

/** Call in the write transaction in which taking a snapshot over begins. */
export function beginMerging(connection: Connection, stream: string): void {
  writeNames(connection, "merging", [...new Set([...readMerging(connection), stream])]);
}

/** Call in the write transaction in which it is done. */
export function endMerging(connection: Connection, stream: string): void {
  const without = (names: readonly string[]) => names.filter((name) => name !== stream);
  writeNames(connection, "merging", without(readMerging(connection)));
  writeMergeWish(connection, without(readMergeWish(connection)));
}

function readNames(connection: Connection, name: MetaName): string[] {
  const text = readMeta(connection, name);
  return typeof text === "string" ? JSON.parse(text) : [];
}

function writeNames(connection: Connection, name: MetaName, streams: readonly string[]): void {
  if (streams.length === 0) deleteMeta(connection, name);
  else writeMeta(connection, name, JSON.stringify(streams));
}
