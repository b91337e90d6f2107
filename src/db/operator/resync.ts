/** Puts on record where the node of a database is to go on in its streams: the last command for a stream counts. */
import type { Connection } from "../connection.ts";
import { readMergeWish, writeMergeWish } from "../state/merge_wish.ts";
import { deleteMeta } from "../state/meta.ts";
import { NO_RESYNC, readResync, type ResyncFrom, writeResync } from "../state/resync_request.ts";
import { requestOperatorLook } from "./operator_request.ts";

/** Asks for shards, all where none are named, to be read from somewhere else: instead of what was asked of them before. */
export function requestResync(
  connection: Connection,
  { from, shards }: { from: ResyncFrom; shards: readonly number[] | undefined },
): void {
  connection.write(() => {
    const wish = readMergeWish(connection);
    writeMergeWish(connection, shards ? wish.filter((name) => !isAmong(name, shards)) : []);
    const before = readResync(connection);
    const wanted = shards
      ? { all: before.all, shards: { ...before.shards, ...sameOf(shards, from) } }
      : { all: from, shards: {} };
    writeResync(connection, { ...NO_RESYNC, ...wanted });
    requestOperatorLook(connection);
  });
}

/** Asks for a snapshot to be taken over for streams, instead of what was asked of them before. */
export function requestMerge(
  connection: Connection,
  { streams, isAll }: { streams: readonly string[]; isAll: boolean },
): void {
  connection.write(() => {
    const { all, shards } = readResync(connection);
    if (isAll) deleteMeta(connection, "resync");
    else {
      writeResync(connection, {
        ...NO_RESYNC,
        all,
        shards: { ...shards, ...sameOf(streams.map(shardOf), null) },
      });
    }
    writeMergeWish(connection, [...new Set([...isAll ? [] : readMergeWish(connection), ...streams])]);
    requestOperatorLook(connection);
  });
}

/** The number at the end of a stream's name, which is its shard. */
export function shardOf(stream: string): number {
  return Number(/-([1-9]\d*)$/.exec(stream)?.[1] ?? 0);
}

function isAmong(stream: string, shards: readonly number[]): boolean {
  return shards.includes(shardOf(stream));
}

function sameOf<T>(shards: readonly number[], from: T): Record<string, T> {
  return Object.fromEntries(shards.map((shard) => [shard, from]));
}
