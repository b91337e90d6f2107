/**
 * Carries out what an operator wants of a stream (marmot resync): the reader of the shard goes on from its end, or from the
 * first message that is left. There is no other way in which a cursor passes messages that were not applied.
 */
import type { Replica } from "../db/replica.ts";
import type { StreamPosition } from "../db/state/stream_positions.ts";
import type { Log } from "../observability/log.ts";
import type { ChangeStreams, StreamState } from "../stream/change_streams.ts";
import { whileBusy, type WhileBusyParts } from "./while_busy.ts";

export interface StreamResyncParts extends WhileBusyParts {
  readonly replica: Replica;
  readonly streams: ChangeStreams;
  readonly log: Log;
}

/**
 * Moves the cursor where the operator wants it, and returns how many parked events were dropped; undefined where nothing is
 * wanted. Nothing of the shard may wait to be applied. Throws when the broker does not answer.
 */
export async function moveAsWanted(
  shard: number,
  { state, ...parts }: StreamResyncParts & { readonly state: StreamState },
): Promise<number | undefined> {
  const { replica, streams, log } = parts;
  const from = replica.recovery.resyncFrom(shard);
  if (from === null) return undefined;
  const { name, createdAt, firstSequence, lastSequence } = state;
  const cursor = from === "now" ? lastSequence : firstSequence - 1;
  const at = from === "now" && cursor > 0 ? await streams.messageAt(shard, cursor) : undefined;
  const position: StreamPosition = { name, createdAt, cursor, storedAt: at?.storedAt ?? "" };
  const target = { from, position, hasMore: cursor < lastSequence };
  const move = await whileBusy(() => replica.recovery.moveStream(shard, target), parts);
  if (move === undefined) return undefined;
  log.warn(
    from === "now"
      ? "stream goes on from its end, as the operator asked: what was missed is not applied here"
      : "stream is read again from its first message, as the operator asked",
    { stream: name, hadRead: move.before, readsFrom: cursor + 1, parkedDropped: move.dropped },
  );
  return move.dropped;
}

/** Ends the operator's wish for the first message, once it has come: until then it may be trimmed, and another be the first. */
export async function endFirst(shard: number, parts: StreamResyncParts): Promise<void> {
  await whileBusy(() => parts.replica.recovery.endFirst(shard), parts);
}
