/**
 * An in-memory model of JetStream: one ordered log per shard, and a network between it and the nodes that loses
 * messages and acknowledgements, delivers late (also after the publisher has given up), and breaks.
 */
import {
  type ChangeStreams,
  PublishError,
  type PublishRequest,
  type StoredMessage,
  type StreamState,
} from "../../src/stream/change_streams.ts";
import type { Random } from "./random.ts";
import type { Life, VirtualTime } from "./virtual_time.ts";

const ACK_TIMEOUT_MS = 400;
const MAX_LATE_MS = 1500;

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

export class MemoryServer {
  readonly logs: StoredMessage[][];
  /** Messages that were given up by their publisher and may still arrive. */
  late = 0;
  network: Network = HEALTHY;
  readonly #waiting = new Set<() => void>();

  constructor(readonly shards: number, readonly time: VirtualTime, readonly random: Random) {
    this.logs = Array.from({ length: shards }, () => []);
  }

  log(shard: number): StoredMessage[] {
    const log = this.logs[shard - 1];
    if (!log) throw new RangeError(`there is no shard ${shard}`);
    return log;
  }

  /** Stores a message and returns its sequence; undefined if the expected last sequence does not hold. */
  store(request: PublishRequest): number | undefined {
    const log = this.log(request.shard);
    const subject = subjectOf(request.shard, request.table);
    const { expectedLastSubjectSequence: expected, shard, format, payload } = request;
    if (expected !== undefined && expected !== this.lastOn(shard, subject)) return undefined;
    const sequence = log.length + 1;
    log.push({ shard, sequence, storedAt: `${this.time.nowMs}.${sequence}`, subject, format, payload });
    for (const wake of [...this.#waiting]) wake();
    return sequence;
  }

  lastOn(shard: number, subject: string): number {
    return this.log(shard).findLast((message) => message.subject === subject)?.sequence ?? 0;
  }

  /** Calls back once when a message is stored. */
  onStored(wake: () => void): void {
    const once = () => {
      this.#waiting.delete(once);
      wake();
    };
    this.#waiting.add(once);
  }
}

function subjectOf(shard: number, table: string | null): string {
  return table === null ? `log-${shard}` : `log-${shard}.${table}`;
}

/** The streams as one life of a node sees them. */
export class MemoryStreams implements ChangeStreams {
  readonly maxPayloadBytes = 1024 * 1024;
  readonly shards: number;
  isCutOff = false;
  /** Nothing is delivered while this is set; publishing goes on. */
  isStalled = false;
  readonly #server: MemoryServer;
  readonly #life: Life;
  #session = 0;
  #arrivesAtMs = 0;
  #onInterrupted = new Set<() => void>();

  constructor(server: MemoryServer, life: Life) {
    this.#server = server;
    this.#life = life;
    this.shards = server.shards;
  }

  /** Breaks the connection: readers must begin anew. */
  interrupt(): void {
    this.#session++;
    this.wakeReaders();
  }

  /** Lets readers look again whether there is something for them. */
  wakeReaders(): void {
    for (const wake of [...this.#onInterrupted]) wake();
  }

  describe(shard: number): Promise<StreamState> {
    return this.#ask(() => ({
      name: `stream-${shard}`,
      createdAt: "at the beginning",
      firstSequence: 1,
      lastSequence: this.#server.log(shard).length,
      maxMessages: Infinity,
    }));
  }

  lastSequenceOfTable(shard: number, table: string): Promise<number> {
    return this.#ask(() => this.#server.lastOn(shard, subjectOf(shard, table)));
  }

  messageAt(shard: number, sequence: number): Promise<StoredMessage | undefined> {
    return this.#ask(() => this.#server.log(shard)[sequence - 1]);
  }

  publish(request: PublishRequest): Promise<number> {
    const { random, network } = this.#server;
    const draw = random.next();
    const isLost = this.isCutOff || draw < network.lost;
    const isLate = !isLost && draw < network.lost + network.late;
    const isAckLost = isLate || draw < network.lost + network.late + network.ackLost;
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new PublishError("unknown", "no acknowledgement came"));
      if (isLost || isAckLost) this.#life.after(ACK_TIMEOUT_MS, giveUp);
      if (isLost) return;
      if (isLate) this.#server.late++;
      this.#server.time.schedule(isLate ? random.below(MAX_LATE_MS) : this.#onTheWayMs(), () => {
        if (isLate) this.#server.late--;
        const sequence = this.#server.store(request);
        if (isAckLost) return;
        this.#life.after(this.#latencyMs(), () => {
          if (sequence === undefined) reject(new PublishError("refused", "wrong last sequence"));
          else resolve(sequence);
        });
      });
    });
  }

  async *read(shard: number, fromSequence: number, signal: AbortSignal): AsyncIterable<StoredMessage> {
    const session = this.#session;
    await this.#ask(() => undefined);
    for (let next = fromSequence; !signal.aborted;) {
      const message = this.isStalled ? undefined : this.#server.log(shard)[next - 1];
      if (message) await this.#pause();
      if (session !== this.#session || this.isCutOff) throw new Error("the connection was lost");
      if (message) {
        yield message;
        next++;
      } else {
        await this.#somethingNew(signal);
      }
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #latencyMs(): number {
    return 1 + this.#server.random.below(this.#server.network.latencyMs);
  }

  /** How long a message takes to the server: it arrives behind those that were sent before it. */
  #onTheWayMs(): number {
    const { time } = this.#server;
    this.#arrivesAtMs = Math.max(this.#arrivesAtMs, time.nowMs + this.#latencyMs());
    return this.#arrivesAtMs - time.nowMs;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#life.after(this.#latencyMs(), resolve));
  }

  #ask<T>(answer: () => T): Promise<T> {
    return new Promise((resolve, reject) =>
      this.#life.after(
        this.#latencyMs(),
        () => this.isCutOff ? reject(new Error("no connection")) : resolve(answer()),
      )
    );
  }

  #somethingNew(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#onInterrupted.delete(wake);
        if (!this.#life.isOver) resolve();
      };
      this.#onInterrupted.add(wake);
      this.#server.onStored(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }
}
