/**
 * What a node needs from the broker: one ordered stream of messages per shard. JetStream keeps this contract
 * in production (jetstream_change_streams.ts), an in-memory model of it in the simulation.
 */

/** A message as it stands in a stream. */
export interface StoredMessage {
  readonly shard: number;
  /** JetStream's number in the stream, from 1. */
  readonly sequence: number;
  /** When the server stored it, as the server says: with the sequence it identifies the message. */
  readonly storedAt: string;
  readonly subject: string;
  /** Value of the format header; null where there is none (the original's messages). */
  readonly format: string | null;
  readonly payload: Uint8Array;
}

export interface StreamState {
  readonly name: string;
  /** When the stream was created: another time means that it was made anew. */
  readonly createdAt: string;
  /** Lowest sequence still there; lastSequence + 1 in an empty stream. */
  readonly firstSequence: number;
  /** Highest sequence ever given, 0 in a new stream. */
  readonly lastSequence: number;
  /** Retention in messages; Infinity without a limit. */
  readonly maxMessages: number;
}

export interface PublishRequest {
  readonly shard: number;
  /** The table whose subject the message goes to; null for the shard's own subject (the original's). */
  readonly table: string | null;
  /** Value of the format header; null writes no header. */
  readonly format: string | null;
  readonly payload: Uint8Array;
  /** Store only if this is the last sequence on the message's subject (0: no message there yet). */
  readonly expectedLastSubjectSequence?: number;
}

/**
 * Why a publish failed. "refused": the expected last sequence did not hold, the message is not stored.
 * "unknown": no acknowledgement came, the message may be stored, now or later.
 */
export type PublishFailure = "refused" | "unknown";

export class PublishError extends Error {
  override readonly name = "PublishError";

  constructor(readonly failure: PublishFailure, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

export interface ChangeStreams {
  /** Number of shards; shards count from 1. */
  readonly shards: number;
  /** Largest message in bytes that the server takes, headers included. */
  readonly maxPayloadBytes: number;
  /** State of a shard's stream, which is made anew if it is gone. Throws when the broker does not answer. */
  describe(shard: number): Promise<StreamState>;
  /** Stores a message and resolves to its sequence. Throws PublishError. Sends the bytes at most once. */
  publish(request: PublishRequest): Promise<number>;
  /** The last sequence on a table's subject, 0 where there is none. Throws when the broker does not answer. */
  lastSequenceOfTable(shard: number, table: string): Promise<number>;
  /** The message with that sequence, undefined where it is gone. Throws when the broker does not answer. */
  messageAt(shard: number, sequence: number): Promise<StoredMessage | undefined>;
  /**
   * The stream's messages in order from a sequence on, then those that come, without end. It throws when
   * messages may have been missed (connection lost, consumer lost, stream gone): the caller checks continuity and
   * reads again. It ends without error when the signal aborts. At most a few thousand messages wait in memory.
   * `onOpen` is called once whatever the stream loses from then on ends the reading. No message comes before it has
   * resolved, and its failure ends the reading.
   */
  read(
    shard: number,
    fromSequence: number,
    signal: AbortSignal,
    onOpen?: () => Promise<void>,
  ): AsyncIterable<StoredMessage>;
  /** Sends what is in flight and closes; later calls throw. */
  close(): Promise<void>;
}
