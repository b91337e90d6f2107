/**
 * Whether a stream goes on where this node left it. The client library does not say: its ordered consumer starts
 * silently at the first message that exists, and waits silently beyond the last.
 */
import type { StreamPosition } from "../db/state/stream_positions.ts";
import type { ChangeStreams, StreamState } from "../stream/change_streams.ts";

/**
 * "continues": read on from the cursor. "trimmed": messages behind the cursor are gone. "made-anew": another
 * stream of that name. "rolled-back": the stream ends before the cursor, or another message stands there.
 */
export type Continuity = "continues" | "trimmed" | "made-anew" | "rolled-back";

export interface StreamEvidence {
  readonly position: StreamPosition;
  readonly state: StreamState;
  /** When the message at the cursor was stored; undefined if it is gone. */
  readonly storedAtCursor: string | undefined;
  /** Whether the message behind the cursor is there; true if the cursor is the last. */
  readonly hasNext: boolean;
}

export function judgeContinuity({ position, state, storedAtCursor, hasNext }: StreamEvidence): Continuity {
  const { cursor, createdAt, storedAt } = position;
  if (createdAt !== "" && createdAt !== state.createdAt) return "made-anew";
  if (state.lastSequence < cursor) return "rolled-back";
  if (storedAt !== "" && storedAtCursor !== undefined && storedAtCursor !== storedAt) return "rolled-back";
  if (state.firstSequence > cursor + 1 || !hasNext) return "trimmed";
  return "continues";
}

/** Gathers the evidence from the broker and judges it. Throws when the broker does not answer. */
export async function checkContinuity(
  streams: ChangeStreams,
  shard: number,
  position: (state: StreamState) => StreamPosition,
): Promise<{ continuity: Continuity; state: StreamState }> {
  const state = await streams.describe(shard);
  const at = position(state);
  const atCursor = at.cursor > 0 ? await streams.messageAt(shard, at.cursor) : undefined;
  const isLast = state.lastSequence <= at.cursor;
  const hasNext = isLast || await streams.messageAt(shard, at.cursor + 1) !== undefined;
  const continuity = judgeContinuity({ position: at, state, storedAtCursor: atCursor?.storedAt, hasNext });
  return { continuity, state };
}
