/** Makes messages of changes and sends them, keeping account of what is in flight and what was not read back. */
import type { ChangeSet } from "../db/capture/change_sets.ts";
import type { ImagePiece } from "../db/capture/image_scan.ts";
import type { MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import { type ChangeStreams, PublishError } from "../stream/change_streams.ts";
import type { EchoBook } from "./echo_book.ts";
import type { MessageEncoder, OutgoingMessage } from "./message_encoder.ts";
import type { PublishingPhase, ShardPublishing } from "./shard_publishing.ts";
import type { Statistics } from "./statistics.ts";

/** Between two looks whether own messages were read back. */
const ROOM_SLEEP_MS = 5;

export interface MessageSenderParts {
  readonly streams: ChangeStreams;
  readonly encoder: MessageEncoder;
  readonly echoes: EchoBook;
  readonly clock: Clock;
  readonly log: Log;
  readonly statistics: Statistics;
  /** Called when a message may not be stored: its shard has to drain. */
  readonly onFailure: (state: ShardPublishing, message: OutgoingMessage, error: unknown) => void;
  /** Called when the outcome of a message is known. */
  readonly onDone: () => void;
}

export class MessageSender {
  constructor(readonly parts: MessageSenderParts) {}

  /** Messages for a set of changes behind the shard's position. Rows that the format cannot carry are said, and stay pending. */
  encode(state: ShardPublishing, set: ChangeSet, top: number, isFollowed?: boolean): OutgoingMessage[] {
    const { encoder, streams: { maxPayloadBytes }, log } = this.parts;
    const onRefused = (error: MarmotError) => {
      log.error("cannot publish a row, it waits until it is changed", {
        table: set.table.schema.name,
        reason: error.message,
        hint: error.hint,
      });
    };
    const messages = encoder.encode(set, top, {
      maxPayloadBytes,
      nextNumber: state.nextNumber,
      onRefused,
      ...(isFollowed === undefined ? {} : { isFollowed }),
    });
    const events = messages.reduce((sum, message) => sum + message.events, 0);
    const changes = { tableId: set.table.id, after: state.position, upTo: top };
    // Refused rows stay pending, and the others with them.
    if (events === set.events.length) state.sent.begin(changes, messages.map(({ number }) => number));
    return messages;
  }

  /** Messages for a piece of a table image. */
  encodeImage(state: ShardPublishing, piece: ImagePiece): OutgoingMessage[] {
    const { encoder, streams: { maxPayloadBytes } } = this.parts;
    return encoder.encodeImage(piece, { maxPayloadBytes, nextNumber: state.nextNumber, onRefused: () => {} });
  }

  /**
   * Sends one message, which counts as in flight already. Returns its sequence; "refused" when the server did not store it
   * because its table's subject has moved on; undefined when that is not known, or it was not stored for another reason.
   */
  async send(
    state: ShardPublishing,
    message: OutgoingMessage,
    expected?: number,
  ): Promise<number | "refused" | undefined> {
    const { streams, echoes, statistics, onFailure, onDone } = this.parts;
    const { table, format, payload } = message;
    const isOriginal = format === null;
    if (isOriginal) echoes.begin(state.shard, message);
    state.unread.add(message.number);
    try {
      const condition = expected === undefined ? {} : { expectedLastSubjectSequence: expected };
      const sequence = await streams.publish({ shard: state.shard, table, format, payload, ...condition });
      if (isOriginal) echoes.acknowledge(state.shard, sequence);
      state.sent.acknowledge(message.number, sequence);
      state.failures = 0;
      state.isFailureSaid = false;
      statistics.publishedMessages++;
      statistics.publishedEvents += message.events;
      return sequence;
    } catch (error) {
      statistics.publishFailures++;
      if (expected !== undefined && error instanceof PublishError && error.failure === "refused") {
        state.unread.delete(message.number);
        return "refused";
      }
      onFailure(state, message, error);
      return undefined;
    } finally {
      state.inFlight--;
      onDone();
    }
  }

  /** Sends messages, which count as in flight already, one after the other, until one fails or the shard drains. */
  async sendInOrder(
    state: ShardPublishing,
    messages: readonly OutgoingMessage[],
    signal: AbortSignal,
  ): Promise<void> {
    for (const [i, message] of messages.entries()) {
      const hasRoom = await this.awaitRoom(state, "open", signal);
      if (!hasRoom) state.inFlight--;
      if (hasRoom && await this.send(state, message) !== undefined) continue;
      state.inFlight -= messages.length - i - 1;
      return;
    }
  }

  /** Waits until enough was read back; false when the shard leaves the phase, or the signal aborts, before that. */
  async awaitRoom(state: ShardPublishing, phase: PublishingPhase, signal: AbortSignal): Promise<boolean> {
    while (!state.hasRoom && state.phase === phase && !signal.aborted) {
      await this.parts.clock.sleep(ROOM_SLEEP_MS, signal);
    }
    return state.phase === phase && !signal.aborted;
  }
}
