/**
 * Moves a stream's cursor where the operator wants it, in the transaction that puts the move on record.
 *
 * "now": to the stream's end. What waits of the stream is given up with all that was not read.
 * "first": before the first message that is left. Where messages come again that were read before, what is known of them goes:
 * which messages of each origin were read (they would be ignored), and what waits of them (it would wait twice). In a stream
 * that was trimmed beyond the cursor none comes again, and what is known stays.
 */
import type { Connection } from "../connection.ts";
import { endMerging } from "../state/merge_wish.ts";
import { recordMove, type ResyncFrom, type StreamMove } from "../state/resync_request.ts";
import type { StreamPosition, StreamPositions } from "../state/stream_positions.ts";
import type { ParkedMessages } from "./parked_messages.ts";

export interface StreamTarget {
  readonly from: ResyncFrom;
  readonly position: StreamPosition;
  /** Whether messages are left behind the position: the wish ends when the first of them was read, it may be trimmed. */
  readonly hasMore: boolean;
}

export interface StreamMoveParts {
  readonly shard: number;
  readonly target: StreamTarget;
  readonly positions: StreamPositions;
  readonly parked: ParkedMessages;
}

/** Call in a write transaction; what is kept in memory of other tables has to be read again. */
export function moveStream(
  connection: Connection,
  { shard, target, positions, parked }: StreamMoveParts,
): StreamMove {
  const { from, position, hasMore } = target;
  const { name, cursor } = position;
  const before = positions.get(name);
  const range = from === "now" ? {} : { first: cursor + 1 };
  const dropped = parked.dropOf(before, range);
  connection.statement("DELETE FROM __marmot__part WHERE stream = ?").run([name]);
  if (cursor < before.cursor) positions.forgetMarks(name);
  positions.set(position);
  positions.save();
  // Of a snapshot that was taken over in part this much stays.
  endMerging(connection, name);
  const move: StreamMove = { stream: name, from, before: before.cursor, cursor, dropped };
  recordMove(connection, shard, { move, isDone: from === "now" || !hasMore });
  return move;
}
