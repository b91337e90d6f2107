/**
 * An in-memory model of a JetStream server: one ordered stream per shard, which keeps so many messages, can be made anew or
 * be rolled back as after a power cut, and stores a message only where its expected last sequence holds.
 */
import type { PublishRequest, StoredMessage, StreamState } from "../../src/stream/change_streams.ts";
import type { Random } from "./random.ts";
import type { VirtualTime } from "./virtual_time.ts";

/** What can happen to a publish. */
export interface Network {
  /** Probabilities of each fault; what is left is a publish that works. */
  readonly ackLost: number;
  readonly late: number;
  readonly lost: number;
  /** Upper bound of the time that anything takes on its way; messages of one connection keep their order. */
  readonly latencyMs: number;
}

export const HEALTHY: Network = { ackLost: 0, late: 0, lost: 0, latencyMs: 2 };

export interface ServerLimits {
  readonly maxMessages?: number;
  readonly maxPayloadBytes?: number;
}

interface MemoryStream {
  createdAt: string;
  /** Counts how often the broker lost something here: what was on its way then is lost as well. */
  epoch: number;
  /** Messages were trimmed up to here. */
  trimmedTo: number;
  messages: StoredMessage[];
  /** What was trimmed, for checks. */
  trimmed: StoredMessage[];
}

export class MemoryServer {
  network: Network = HEALTHY;
  readonly maxPayloadBytes: number;
  /** Messages that were given up by their publisher and may still arrive. */
  late = 0;
  /** Called with every message that is stored. */
  onMessage: (message: StoredMessage) => void = () => {};
  readonly #maxMessages: number;
  readonly #streams: MemoryStream[];
  readonly #waiting = new Set<() => void>();
  /** Messages on hold, by subject: they arrive just before the next one there. */
  readonly #held = new Map<string, (() => void)[]>();

  constructor(
    readonly shards: number,
    readonly time: VirtualTime,
    readonly random: Random,
    { maxMessages = Infinity, maxPayloadBytes = 1024 * 1024 }: ServerLimits = {},
  ) {
    this.maxPayloadBytes = maxPayloadBytes;
    this.#maxMessages = maxMessages;
    this.#streams = Array.from({ length: shards }, (_, i) => this.#newStream(i + 1));
  }

  describe(shard: number): StreamState {
    const { createdAt, trimmedTo } = this.#stream(shard);
    return {
      name: `stream-${shard}`,
      createdAt,
      firstSequence: trimmedTo + 1,
      lastSequence: this.lastSequence(shard),
      maxMessages: this.#maxMessages,
    };
  }

  /** Another number whenever the broker has lost something of the stream. */
  epoch(shard: number): number {
    return this.#stream(shard).epoch;
  }

  /** Messages that are there, in order. */
  log(shard: number): readonly StoredMessage[] {
    return this.#stream(shard).messages;
  }

  at(shard: number, sequence: number): StoredMessage | undefined {
    const { messages, trimmedTo } = this.#stream(shard);
    return messages[sequence - 1 - trimmedTo];
  }

  /** The same also where the message was trimmed: for checks. */
  everStored(shard: number, sequence: number): StoredMessage | undefined {
    return this.at(shard, sequence) ?? this.#stream(shard).trimmed[sequence - 1];
  }

  lastSequence(shard: number): number {
    const { messages, trimmedTo } = this.#stream(shard);
    return trimmedTo + messages.length;
  }

  lastOn(shard: number, subject: string): number {
    return this.log(shard).findLast((message) => message.subject === subject)?.sequence ?? 0;
  }

  /** Stores a message and returns its sequence; undefined if the expected last sequence does not hold. */
  store(request: PublishRequest): number | undefined {
    const subject = subjectOf(request.shard, request.table);
    const { expectedLastSubjectSequence: expected, shard, format, payload } = request;
    if (expected !== undefined && expected !== this.lastOn(shard, subject)) return undefined;
    const stream = this.#stream(shard);
    const sequence = this.lastSequence(shard) + 1;
    const storedAt = `${this.time.nowMs}.${sequence}`;
    const message = { shard, sequence, storedAt, subject, format, payload };
    stream.messages.push(message);
    this.trim(shard, sequence - this.#maxMessages + 1);
    this.onMessage(message);
    this.#wake();
    return sequence;
  }

  /** Removes the messages below a sequence, as retention does. */
  trim(shard: number, belowSequence: number): void {
    const stream = this.#stream(shard);
    const removed = stream.messages.splice(0, Math.max(0, belowSequence - 1 - stream.trimmedTo));
    stream.trimmed.push(...removed);
    stream.trimmedTo += removed.length;
  }

  /** Keeps a message back until `release` of its subject. */
  hold(subject: string, arrive: () => void): void {
    this.#held.set(subject, [...this.#held.get(subject) ?? [], arrive]);
  }

  /** Lets what was kept back on a subject arrive; on all without one. */
  release(subject?: string): void {
    const subjects = subject === undefined ? [...this.#held.keys()] : [subject];
    for (const name of subjects) {
      const held = this.#held.get(name) ?? [];
      this.#held.delete(name);
      for (const arrive of held) arrive();
    }
  }

  /** Deletes a stream and makes it again, empty. Readers have to begin anew. */
  makeAnew(shard: number): void {
    this.#streams[shard - 1] = { ...this.#newStream(shard), epoch: this.epoch(shard) + 1 };
    this.#wake();
  }

  /** Takes the last messages back, as a power cut does with what was not synced. Readers have to begin anew. */
  rollBack(shard: number, count: number): void {
    const stream = this.#stream(shard);
    stream.messages.splice(Math.max(0, stream.messages.length - count));
    stream.epoch++;
    this.#wake();
  }

  /** Calls back once when a message is stored. */
  onStored(wake: () => void): void {
    const once = () => {
      this.#waiting.delete(once);
      wake();
    };
    this.#waiting.add(once);
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #newStream(shard: number): MemoryStream {
    return { createdAt: `${this.time.nowMs}.${shard}`, epoch: 0, trimmedTo: 0, messages: [], trimmed: [] };
  }

  #stream(shard: number): MemoryStream {
    const stream = this.#streams[shard - 1];
    if (!stream) throw new RangeError(`there is no shard ${shard}`);
    return stream;
  }
}

export function subjectOf(shard: number, table: string | null): string {
  return table === null ? `log-${shard}` : `log-${shard}.${table}`;
}
