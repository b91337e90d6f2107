/**
 * The streams as one life of a node sees them: a connection to the in-memory server over a network that loses messages
 * and acknowledgements, delivers late (also after the publisher has given up), and breaks.
 */
import {
  type ChangeStreams,
  PublishError,
  type PublishRequest,
  type StoredMessage,
  type StreamState,
} from "../../src/stream/change_streams.ts";
import { type MemoryServer, subjectOf } from "./memory_server.ts";
import type { Life } from "./virtual_time.ts";

const ACK_TIMEOUT_MS = 400;
const MAX_LATE_MS = 3000;

type Fate = "works" | "lost" | "acknowledgement lost" | "late" | "held";

export class MemoryStreams implements ChangeStreams {
  readonly maxPayloadBytes: number;
  readonly shards: number;
  /** How many messages a stream keeps. */
  readonly maxMessages: number;
  isCutOff = false;
  /** Nothing is delivered while this is set; publishing goes on. */
  isStalled = false;
  /** Nothing that is published comes through while this is set; reading goes on. */
  isMute = false;
  /** The next publish is kept back until just before the next one on its subject. */
  holdsNext = false;
  /** The next message is stored twice. */
  doublesNext = false;
  /** The process ends when it has sent so many more messages. */
  crashAfter = Infinity;
  readonly #server: MemoryServer;
  readonly #life: Life;
  readonly #distance: number;
  #session = 0;
  #arrivesAtMs = 0;
  #onInterrupted = new Set<() => void>();

  /** `distance`: the node's share of the network's latency. */
  constructor(server: MemoryServer, life: Life, distance = 1) {
    this.#server = server;
    this.#life = life;
    this.#distance = distance;
    this.shards = server.shards;
    this.maxMessages = server.describe(1).maxMessages;
    this.maxPayloadBytes = server.maxPayloadBytes;
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
    return this.ask(() => this.#server.describe(shard));
  }

  lastSequenceOfTable(shard: number, table: string): Promise<number> {
    return this.ask(() => this.#server.lastOn(shard, subjectOf(shard, table)));
  }

  messageAt(shard: number, sequence: number): Promise<StoredMessage | undefined> {
    return this.ask(() => this.#server.at(shard, sequence));
  }

  publish(request: PublishRequest): Promise<number> {
    const { random } = this.#server;
    if (request.payload.length > this.maxPayloadBytes) {
      return Promise.reject(new PublishError("unknown", "the message is too large"));
    }
    // What was kept back comes before this message: long before or right before it, as far as this one has to go.
    const isReleased = random.chance(0.7);
    if (isReleased) this.#server.release(subjectOf(request.shard, request.table));
    const fate = this.#drawFate();
    const isDoubled = this.doublesNext;
    this.doublesNext = false;
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new PublishError("unknown", "no acknowledgement came"));
      if (fate !== "works") this.#life.after(ACK_TIMEOUT_MS, giveUp);
      if (fate !== "lost") {
        const onLost = () => this.#life.after(ACK_TIMEOUT_MS, giveUp);
        this.#send(request, { fate, onLost }, (sequence) => {
          if (isDoubled) this.#server.store(request);
          if (fate !== "works") return;
          this.#life.after(this.#latencyMs(), () => {
            if (sequence === undefined) reject(new PublishError("refused", "wrong last sequence"));
            else resolve(sequence);
          });
        });
      }
      if (--this.crashAfter <= 0) this.#life.isOver = true;
    });
  }

  /** Asks something near the server, over the same network. Throws where the connection is lost by then, and what the answer throws. */
  ask<T>(answer: () => T): Promise<T> {
    return new Promise((resolve, reject) =>
      this.#life.after(
        this.#latencyMs(),
        () => {
          try {
            if (this.isCutOff) throw new Error("no connection");
            resolve(answer());
          } catch (error) {
            reject(error);
          }
        },
      )
    );
  }

  async *read(
    shard: number,
    fromSequence: number,
    signal: AbortSignal,
    onOpen: () => Promise<void> = () => Promise.resolve(),
  ): AsyncIterable<StoredMessage> {
    const session = this.#session;
    await this.ask(() => {
      const last = this.#server.lastSequence(shard);
      if (last + 1 < fromSequence) {
        throw new Error(`the stream ends at ${last}, before sequence ${fromSequence}`);
      }
    });
    await onOpen();
    for (let next = fromSequence; !signal.aborted;) {
      const message = this.isStalled ? undefined : this.#server.at(shard, next);
      if (message) await this.#pause();
      if (session !== this.#session || this.isCutOff) throw new Error("the connection was lost");
      if (!this.isStalled && this.#server.describe(shard).firstSequence > next) {
        throw new Error(`sequence ${next} is missing`);
      }
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

  #drawFate(): Fate {
    const { random, network } = this.#server;
    const draw = random.next();
    if (this.isCutOff || this.isMute || draw < network.lost) return "lost";
    if (this.holdsNext) {
      this.holdsNext = false;
      return "held";
    }
    if (draw < network.lost + network.late) return "late";
    return draw < network.lost + network.late + network.ackLost ? "acknowledgement lost" : "works";
  }

  #send(
    request: PublishRequest,
    { fate, onLost }: { fate: Fate; onLost: () => void },
    onStored: (sequence: number | undefined) => void,
  ): void {
    const server = this.#server;
    const subject = subjectOf(request.shard, request.table);
    const epoch = server.epoch(request.shard);
    const arrive = () => server.epoch(request.shard) === epoch ? onStored(server.store(request)) : onLost();
    const arriveLate = () => {
      server.late--;
      arrive();
    };
    if (fate === "held" || fate === "late") server.late++;
    if (fate === "held") server.hold(subject, arriveLate);
    else if (fate === "late") server.time.schedule(server.random.below(MAX_LATE_MS), arriveLate);
    else {
      server.time.schedule(this.#onTheWayMs(), () => {
        server.release(subject);
        arrive();
      });
    }
  }

  #latencyMs(): number {
    const { random, network } = this.#server;
    return 1 + random.below(Math.ceil(network.latencyMs * this.#distance));
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
