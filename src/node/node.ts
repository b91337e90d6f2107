/**
 * One node: a database and its streams, and the loops between them. Here db meets stream.
 *
 *   file event ─► Publisher ─► streams ─► ShardReader (one per shard) ─► ApplyLoop ─► tables
 *
 * All that a node takes from outside comes through NodePorts, so the simulation runs this very code.
 */
import type { Replica } from "../db/replica.ts";
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeStreams } from "../stream/change_streams.ts";
import { ApplyLoop } from "./apply_loop.ts";
import { Armer } from "./armer.ts";
import { MessageEncoder } from "./message_encoder.ts";
import { Publisher } from "./publisher.ts";
import { ShardReader } from "./shard_reader.ts";
import { newStatistics, type Statistics } from "./statistics.ts";

const LOOK_INTERVAL_MS = 100;
/** Pauses between the looks that follow a file event. */
const LOOK_AGAIN_MS = [1, 2, 5];
/** Below every sequence. */
const NOTHING_READ = -1;
/** How long a stopping node waits for what is in flight. */
const FLUSH_MS = 5000;

export interface NodePorts {
  readonly clock: Clock;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
  readonly streams: ChangeStreams;
  /** Calls back when the database's files change; returns how to stop that. */
  readonly watchFiles: (onChange: () => void) => () => void;
  readonly log: Log;
}

export interface NodeOptions {
  readonly wireFormat: "batch" | "v0.6";
  readonly compress: boolean;
  /** What has kept the tables armed until now; a new one is made without it. */
  readonly armer?: Armer;
}

export class Node {
  readonly statistics: Statistics = newStatistics();
  readonly #ports: NodePorts;
  readonly #publisher: Publisher;
  readonly #applyLoop: ApplyLoop;
  readonly #readers: ShardReader[];
  readonly #armer: Armer;
  #hasFileEvent = false;
  #isLookingAgain = false;
  #signal: AbortSignal = new AbortController().signal;

  constructor(replica: Replica, ports: NodePorts, options: NodeOptions) {
    this.#ports = ports;
    this.#armer = options.armer ?? new Armer({ replica, ...ports });
    this.#armer.onRepublish = (tables) => this.#publisher.republish(tables);
    const onSchemaChange = () => this.#armer.look(this.#signal);
    const shared = { replica, statistics: this.statistics, onSchemaChange, ...ports };
    const { wireFormat, compress } = options;
    const encoder = new MessageEncoder({ origin: replica.nodeId, run: replica.run, wireFormat, compress });
    this.#publisher = new Publisher({
      ...shared,
      encoder,
      onFalseVictims: () => this.#applyLoop.tidy(),
      cursorOf: (shard) => this.#readers[shard - 1]?.cursor ?? NOTHING_READ,
    });
    this.#applyLoop = new ApplyLoop({ ...shared, publisher: this.#publisher });
    this.#readers = Array.from(
      { length: ports.streams.shards },
      (_, i) => new ShardReader(i + 1, { ...shared, applyLoop: this.#applyLoop }),
    );
  }

  /** Messages that were read and wait to be applied. */
  get queued(): number {
    return this.#applyLoop.queued;
  }

  /** Replicates until `stop` aborts, then sends what is in flight. Throws where the node cannot go on. */
  async run(stop: AbortSignal): Promise<void> {
    const { clock, watchFiles, log } = this.#ports;
    const halt = new AbortController();
    const end = new AbortController();
    const signal = this.#signal = end.signal;
    await this.#armer.look(signal);
    const ended = Promise.withResolvers<void>();
    const stopWatching = watchFiles(() =>
      this.#noticeFileEvent(signal).catch((error) => ended.reject(error))
    );
    const loops = [
      this.#publisher.run(halt.signal),
      this.#applyLoop.run(signal),
      this.#lookRegularly(signal),
      ...this.#readers.map((reader) => reader.run(signal)),
    ].map((loop) => loop.catch((error) => ended.reject(error)));
    const finish = () => ended.resolve();
    stop.addEventListener("abort", finish);
    if (stop.aborted) finish();
    log.info("replicating");
    try {
      await ended.promise;
      halt.abort();
      for (let waitedMs = 0; !this.#publisher.isIdle && waitedMs < FLUSH_MS; waitedMs += 10) {
        await clock.sleep(10, signal);
      }
    } finally {
      stopWatching();
      halt.abort();
      end.abort();
      await Promise.all(loops);
    }
  }

  /** The safety net under file events. */
  async #lookRegularly(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#look();
      await this.#ports.clock.sleep(LOOK_INTERVAL_MS, signal);
    }
  }

  /**
   * Looks at once, and again shortly after: SQLite writes a commit to the -wal file, which is the event, before it
   * makes the commit visible in shared memory, of which there is no event.
   */
  async #noticeFileEvent(signal: AbortSignal): Promise<void> {
    this.#hasFileEvent = true;
    await this.#look();
    if (this.#isLookingAgain) return;
    this.#isLookingAgain = true;
    while (this.#hasFileEvent && !signal.aborted) {
      this.#hasFileEvent = false;
      for (const ms of LOOK_AGAIN_MS) {
        await this.#ports.clock.sleep(ms, signal);
        await this.#look();
      }
    }
    this.#isLookingAgain = false;
  }

  async #look(): Promise<void> {
    this.#publisher.wake();
    await this.#armer.look(this.#signal);
  }
}
