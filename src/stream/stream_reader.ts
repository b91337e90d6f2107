/**
 * Reads one stream in order through a pull consumer of its own. The library's ordered consumer hides what it
 * repairs (it starts at the first sequence that exists, makes itself anew, waits beyond the end), so the few
 * messages of the pull protocol are spoken here, and anything unexpected ends the reading.
 * Invariant: every message that is given out has the sequence of the one before plus 1.
 * Source: NATS documentation, "JetStream wire API reference", fetching from a pull consumer.
 */
import { AckPolicy, DeliverPolicy, type JetStreamManager } from "@nats-io/jetstream";
import { createInbox, type Msg, nanos, type Subscription } from "@nats-io/nats-core";
import type { StoredMessage } from "./change_streams.ts";
import { type Connection, untilAborted } from "./connection.ts";
import { MessageQueue } from "./message_queue.ts";
import { deliveredMessage } from "./stored_message.ts";

/** Messages of one request; as many more are under way, so that the server never waits for us. */
const BATCH_MESSAGES = 1_000;
/** Bytes of one request, unless one message may be larger. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** Room for a message's subjects and headers above its payload. */
const OVERHEAD_BYTES = 16 * 1024;
/** The server ends a request after this time, and says that it lives more often. */
const REQUEST_EXPIRES_MS = 30_000;
const HEARTBEAT_MS = 3_000;
/** Looks at the clock without a sign of life before the reading ends. */
const SILENT_HEARTBEATS = 3;
/** The server forgets the consumer of a node that went away. */
const INACTIVE_THRESHOLD_MS = 120_000;

export interface StreamReaderOptions {
  readonly connection: Connection;
  readonly manager: JetStreamManager;
  readonly stream: string;
  readonly shard: number;
  readonly fromSequence: number;
  readonly maxPayloadBytes: number;
}

export class StreamReader {
  readonly #options: StreamReaderOptions;
  readonly #queue = new MessageQueue();
  readonly #inbox: string;
  /** The connection's session that the consumer lives in. */
  readonly #session: AbortSignal;
  /**
   * How many messages the requests under way may still bring. The server serves them by turns, and no message tells which
   * of them it belongs to: what is left of one shows when it ends.
   */
  #left = 0;
  #batchBytes: number;
  #expected: number;
  readonly #consumer: string;
  #isOpen = false;
  #subscription: Subscription | undefined;
  #watchdog: ReturnType<typeof setInterval> | undefined;
  #silence = 0;

  constructor(options: StreamReaderOptions) {
    this.#options = options;
    this.#session = options.connection.session;
    this.#inbox = createInbox();
    this.#consumer = this.#inbox.slice(this.#inbox.lastIndexOf(".") + 1);
    this.#expected = options.fromSequence;
    this.#batchBytes = Math.max(BATCH_BYTES, options.maxPayloadBytes + OVERHEAD_BYTES);
  }

  /**
   * The messages from `fromSequence` on. Ends when the signal aborts, throws when any may have been missed. Before the
   * first, once its consumer is there, it waits for `onOpen`.
   */
  async *messages(
    signal: AbortSignal,
    onOpen: () => Promise<void> = () => Promise.resolve(),
  ): AsyncGenerator<StoredMessage, void, void> {
    const stop = () => this.#queue.end();
    const lose = () => this.#queue.fail(this.#session.reason);
    signal.addEventListener("abort", stop, { once: true });
    this.#session.addEventListener("abort", lose, { once: true });
    try {
      if (signal.aborted) return;
      this.#session.throwIfAborted();
      await this.#open(AbortSignal.any([signal, this.#session]));
      await onOpen();
      for (;;) {
        this.#pull();
        const message = this.#queue.shift() ?? await this.#queue.next();
        if (message === undefined) return;
        yield message;
      }
    } catch (error) {
      // What the broker says while we leave is of no interest.
      if (!signal.aborted) throw error;
    } finally {
      signal.removeEventListener("abort", stop);
      this.#session.removeEventListener("abort", lose);
      this.#close();
    }
  }

  async #open(signal: AbortSignal): Promise<void> {
    const { connection, manager, stream, fromSequence } = this.#options;
    this.#subscription = connection.nats.subscribe(this.#inbox, {
      callback: (error, message) => {
        // An error thrown here would end the library's reading of the whole connection.
        try {
          if (error !== null) throw error;
          this.#receive(message);
        } catch (reason) {
          this.#queue.fail(reason);
        }
      },
    });
    const adding = manager.consumers.add(stream, {
      name: this.#consumer,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: fromSequence,
      ack_policy: AckPolicy.None,
      max_deliver: 1,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: nanos(INACTIVE_THRESHOLD_MS),
    });
    await untilAborted(adding, signal);
    // Looked at after the consumer is there: what goes away from now on shows in what it delivers.
    const { state } = await untilAborted(manager.streams.info(stream), signal);
    if (state.last_seq + 1 < fromSequence) {
      throw new Error(`the stream ends at ${state.last_seq}, before sequence ${fromSequence}`);
    }
    const first = state.messages === 0 ? state.last_seq + 1 : state.first_seq;
    if (first > fromSequence) {
      throw new Error(`the stream begins at ${first}, after sequence ${fromSequence}`);
    }
    this.#isOpen = true;
    this.#watchdog = setInterval(() => this.#watch(), HEARTBEAT_MS);
  }

  #receive(message: Msg): void {
    this.#silence = 0;
    if (message.subject === this.#inbox) return this.#receiveStatus(message);
    this.#left--;
    const stored = deliveredMessage(this.#options.shard, message);
    this.#assertExpected(stored.sequence);
    this.#expected++;
    this.#queue.push(stored);
  }

  #receiveStatus({ headers }: Msg): void {
    const description = headers?.description ?? "";
    const unused = Number(headers?.get("Nats-Pending-Messages") || NaN);
    switch (headers?.code) {
      case 100: {
        // The consumer tells how far it is: what was purged before it was delivered shows here at once.
        const last = headers.get("Nats-Last-Stream");
        if (last !== "" && Number(last) >= this.#expected) this.#assertExpected(Number(last) + 1);
        return;
      }
      case 408:
        this.#endRequest(unused);
        break;
      case 409:
        if (!/message size exceeds maxbytes|batch completed/i.test(description)) {
          throw new Error(description.toLowerCase());
        }
        this.#endRequest(unused);
        // Not even one message had room.
        if (unused === BATCH_MESSAGES) this.#batchBytes *= 2;
        break;
      default:
        throw new Error(headers?.code === 503 ? "the consumer is gone" : `the server says "${description}"`);
    }
    this.#pull();
  }

  /** Of a server that does not say what is left of it (2.9 does), no more than a request is asked for in its place. */
  #endRequest(unused: number): void {
    this.#left = Math.max(0, this.#left - (Number.isNaN(unused) ? BATCH_MESSAGES : unused));
  }

  #assertExpected(sequence: number): void {
    if (sequence === this.#expected) return;
    throw new Error(`sequence ${this.#expected} is missing, ${sequence} comes next`);
  }

  /** Keeps two requests' messages under way while less than two requests' messages wait to be taken. */
  #pull(): void {
    const { connection: { nats }, stream } = this.#options;
    while (
      this.#isOpen && this.#left <= BATCH_MESSAGES && !this.#queue.isClosed &&
      this.#queue.messages < 2 * BATCH_MESSAGES && this.#queue.bytes < 2 * this.#batchBytes
    ) {
      const request = {
        batch: BATCH_MESSAGES,
        max_bytes: this.#batchBytes,
        expires: nanos(REQUEST_EXPIRES_MS),
        idle_heartbeat: nanos(HEARTBEAT_MS),
      };
      this.#left += BATCH_MESSAGES;
      const next = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${this.#consumer}`;
      nats.publish(next, JSON.stringify(request), { reply: this.#inbox });
    }
  }

  #watch(): void {
    // A process that was busy or asleep finds one late tick here, then reads what has come.
    if (this.#left === 0) this.#silence = 0;
    else if (++this.#silence > SILENT_HEARTBEATS) this.#queue.fail(new Error("the server fell silent"));
  }

  #close(): void {
    clearInterval(this.#watchdog);
    this.#queue.end();
    const { connection: { nats }, stream } = this.#options;
    if (nats.isClosed()) return;
    this.#subscription?.unsubscribe();
    if (this.#subscription === undefined || this.#session.aborted) return;
    // Nobody waits for the answer: a consumer that stays is forgotten by the server.
    nats.publish(`$JS.API.CONSUMER.DELETE.${stream}.${this.#consumer}`);
  }
}
