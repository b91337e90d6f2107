/**
 * ChangeStreams on JetStream. Everything that is asked is answered by a stream's leader: a follower may lag, and
 * an answer from behind would look like a stream that was rolled back.
 *
 * What the client library does with a publish when the connection breaks: bytes that it still holds are dropped
 * when it dials again, so they are not sent late. Bytes that the operating system has taken may still arrive. A
 * publish that fails as "unknown" may therefore be stored, or be stored a little later.
 */
import { JetStreamApiError, type JetStreamManager, PubHeaders, type StreamInfo } from "@nats-io/jetstream";
import { headers as newHeaders } from "@nats-io/nats-core";
import { errorText, MarmotError } from "../errors.ts";
import { FORMAT_HEADER } from "../wire/batch_codec.ts";
import { ApiCode } from "./broker_errors.ts";
import {
  type ChangeStreams,
  PublishError,
  type PublishRequest,
  type StoredMessage,
  type StreamState,
} from "./change_streams.ts";
import { type Connection, REQUEST_TIMEOUT_MS, untilAborted } from "./connection.ts";
import { shardSubject, streamName, type StreamNaming, tableSubject } from "./names.ts";
import { type AnswerQuestion, answerQuestions } from "./node_questions.ts";
import { fetchedMessage } from "./stored_message.ts";
import { StreamReader } from "./stream_reader.ts";

/** The server's own default, for as long as it has not told its limit. */
const DEFAULT_MAX_PAYLOAD = 1024 * 1024;

export interface JetStreamChangeStreamsOptions {
  readonly connection: Connection;
  /** Whether the connection stays when the streams are closed. */
  readonly isShared: boolean;
  readonly manager: JetStreamManager;
  readonly naming: StreamNaming;
  /** The streams of all shards as they were set up, shard 1 first. */
  readonly streams: readonly StreamInfo[];
  /** Sets the streams up again after one was deleted. */
  readonly setUpAgain: () => Promise<unknown>;
}

/** The server's answer to a publish. Source: NATS ADR-1, "JetStream JSON API Design", PubAck. */
interface Acknowledgement {
  readonly stream?: string;
  readonly seq?: number;
  readonly error?: { readonly err_code: number; readonly description: string };
}

export class JetStreamChangeStreams implements ChangeStreams {
  readonly shards: number;
  readonly #connection: Connection;
  readonly #isShared: boolean;
  readonly #manager: JetStreamManager;
  readonly #naming: StreamNaming;
  /** Smallest limit that a stream has of its own. */
  readonly #maxMessageBytes: number;
  #maxPayloadBytes: number;
  readonly #inFlight = new Set<Promise<unknown>>();
  readonly #setUpAgain: () => Promise<unknown>;
  #settingUp: Promise<unknown> | undefined;
  #isClosed = false;

  constructor({ connection, isShared, manager, naming, streams, setUpAgain }: JetStreamChangeStreamsOptions) {
    this.shards = streams.length;
    this.#setUpAgain = setUpAgain;
    this.#connection = connection;
    this.#isShared = isShared;
    this.#manager = manager;
    this.#naming = naming;
    this.#maxPayloadBytes = connection.nats.info?.max_payload ?? DEFAULT_MAX_PAYLOAD;
    const limits = streams.map((stream) => stream.config.max_msg_size).filter((size) => size > 0);
    this.#maxMessageBytes = Math.min(Infinity, ...limits);
  }

  get maxPayloadBytes(): number {
    // Unknown while the connection is down; another server of the cluster may have another limit.
    this.#maxPayloadBytes = this.#connection.nats.info?.max_payload ?? this.#maxPayloadBytes;
    return Math.min(this.#maxPayloadBytes, this.#maxMessageBytes);
  }

  async describe(shard: number): Promise<StreamState> {
    const name = this.#stream(shard);
    const { created, state, config } = await this.#ask(
      `describe stream "${name}"`,
      () => this.#infoOrMade(name),
    );
    return {
      name,
      createdAt: created,
      firstSequence: state.messages === 0 ? state.last_seq + 1 : state.first_seq,
      lastSequence: state.last_seq,
      maxMessages: config.max_msgs > 0 ? config.max_msgs : Infinity,
    };
  }

  async #infoOrMade(name: string): Promise<StreamInfo> {
    try {
      return await this.#manager.streams.info(name);
    } catch (error) {
      if (!(error instanceof JetStreamApiError) || error.code !== ApiCode.streamNotFound) throw error;
    }
    this.#settingUp ??= this.#setUpAgain().finally(() => this.#settingUp = undefined);
    await this.#settingUp;
    return await this.#manager.streams.info(name);
  }

  async publish(request: PublishRequest): Promise<number> {
    const { shard, table, format, payload, expectedLastSubjectSequence } = request;
    const name = this.#stream(shard);
    const subject = table === null
      ? shardSubject(this.#naming, shard)
      : tableSubject(this.#naming, shard, table);
    const headers = newHeaders();
    if (format !== null) headers.set(FORMAT_HEADER, format);
    if (expectedLastSubjectSequence !== undefined) {
      headers.set(PubHeaders.ExpectedLastSubjectSequenceHdr, String(expectedLastSubjectSequence));
    }
    const hasHeaders = format !== null || expectedLastSubjectSequence !== undefined;
    let answer: Acknowledgement;
    try {
      const message = await this.#whileUp(() =>
        this.#connection.nats.request(subject, payload, {
          timeout: REQUEST_TIMEOUT_MS,
          ...(hasHeaders ? { headers } : {}),
        })
      );
      answer = message.json<Acknowledgement>();
    } catch (error) {
      throw new PublishError("unknown", `Cannot publish to "${subject}": ${errorText(error)}`, {
        cause: error,
      });
    }
    const { error, stream, seq } = answer;
    if (
      error?.err_code === ApiCode.wrongLastSequence || error?.err_code === ApiCode.wrongLastSequenceUnknown
    ) {
      throw new PublishError("refused", `"${subject}" moved on: ${error.description}`);
    }
    if (error !== undefined || stream !== name || seq === undefined) {
      const reason = error?.description ?? `stream "${stream}" took it instead of "${name}"`;
      throw new PublishError("unknown", `Cannot publish to "${subject}": ${reason}`);
    }
    return seq;
  }

  async lastSequenceOfTable(shard: number, table: string): Promise<number> {
    const name = this.#stream(shard);
    const subject = tableSubject(this.#naming, shard, table);
    const message = await this.#ask(`look up the last message on "${subject}"`, () => {
      return this.#manager.streams.getMessage(name, { last_by_subj: subject });
    });
    return message?.seq ?? 0;
  }

  async messageAt(shard: number, sequence: number): Promise<StoredMessage | undefined> {
    const name = this.#stream(shard);
    // Sequence 0 would ask for a message by subject.
    if (sequence < 1) return undefined;
    const message = await this.#ask(`look up message ${sequence} of stream "${name}"`, () => {
      return this.#manager.streams.getMessage(name, { seq: sequence });
    });
    return message === null ? undefined : fetchedMessage(shard, message);
  }

  async *read(
    shard: number,
    fromSequence: number,
    signal: AbortSignal,
    onOpen?: () => Promise<void>,
  ): AsyncGenerator<StoredMessage> {
    const stream = this.#stream(shard);
    try {
      this.#assertOpen();
      const reader = new StreamReader({
        connection: this.#connection,
        manager: this.#manager,
        stream,
        shard,
        fromSequence,
        maxPayloadBytes: this.maxPayloadBytes,
      });
      yield* reader.messages(signal, onOpen);
    } catch (error) {
      throw brokerError(`read stream "${stream}" from sequence ${fromSequence}`, error);
    }
  }

  /** Answers the questions that are asked of this node until the signal aborts. */
  answerQuestions(options: { nodeId: bigint; answer: AnswerQuestion; signal: AbortSignal }): Promise<void> {
    return answerQuestions(this.#connection, { ...options, streamPrefix: this.#naming.streamPrefix });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#inFlight);
    if (!this.#isShared) await this.#connection.close();
  }

  async #ask<T>(action: string, question: () => Promise<T>): Promise<T> {
    try {
      return await this.#whileUp(question);
    } catch (error) {
      throw brokerError(action, error);
    }
  }

  /** Sends only while the connection is up, and waits for the answer no longer than it is. */
  async #whileUp<T>(send: () => Promise<T>): Promise<T> {
    this.#assertOpen();
    const { session } = this.#connection;
    session.throwIfAborted();
    const answer = untilAborted(send(), session);
    this.#inFlight.add(answer);
    try {
      return await answer;
    } finally {
      this.#inFlight.delete(answer);
    }
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new Error("the streams are closed");
  }

  #stream(shard: number): string {
    if (!Number.isInteger(shard) || shard < 1 || shard > this.shards) {
      throw new MarmotError("internal", `There is no shard ${shard}, shards count from 1 to ${this.shards}`);
    }
    return streamName(this.#naming, shard);
  }
}

function brokerError(action: string, error: unknown): MarmotError {
  const reason = error instanceof JetStreamApiError ? `${error.message} (${error.code})` : errorText(error);
  return new MarmotError("broker", `Cannot ${action}: ${reason}`, { cause: error });
}
