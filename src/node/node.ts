/**
 * One node: a database and its streams, and the loops between them. Here db meets stream.
 *
 *   commit ─► Publisher ─► streams ─► ShardReader (one per shard) ─► ApplyLoop ─► tables
 *
 * All that a node takes from outside comes through NodePorts, so the simulation runs this very code.
 */
import type { Replica } from "../db/replica.ts";
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeStreams } from "../stream/change_streams.ts";
import type { ApplyBarrier } from "./apply_barrier.ts";
import { ApplyLoop } from "./apply_loop.ts";
import { Armer } from "./armer.ts";
import { type CommitHints, CommitLooks } from "./commit_looks.ts";
import { MessageEncoder } from "./message_encoder.ts";
import { Publisher } from "./publisher.ts";
import { ShardReader } from "./shard_reader.ts";
import type { SnapshotGate } from "./snapshot/snapshot_gate.ts";
import { LateMerge, type SavedSnapshots } from "./snapshot/late_merge.ts";
import { newStatistics, type Statistics } from "./statistics.ts";
import { whileBusy } from "./while_busy.ts";
import { WriteWatch } from "./write_watch.ts";

/** Between two looks whether the database is still the same file. */
const COMPARE_FILE_MS = 1000;
/** Between two looks whether the schema has changed, where no commit was seen. */
const ARM_MS = 100;
/** Below every sequence. */
const NOTHING_READ = -1;
/** How long a stopping node waits for what is in flight. */
const FLUSH_MS = 5000;

export interface NodePorts {
  readonly clock: Clock;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
  readonly streams: ChangeStreams;
  readonly log: Log;
}

export interface NodeOptions {
  readonly wireFormat: "batch" | "v0.6";
  readonly compress: boolean;
  /** What tells of commits; SQLite is asked more often without. */
  readonly commitHints?: CommitHints;
  /** Longest time between two looks for commits without hints, in milliseconds; 10 unless told. */
  readonly idleLookMs?: number;
  /** What has kept the tables armed until now; a new one is made without it. */
  readonly armer?: Armer;
  /** Holds publishing back until a snapshot covers the streams; nothing does without it. */
  readonly gate?: Pick<SnapshotGate, "isHeld">;
  /** Where a node that has missed messages finds snapshots; it stays stopped without. */
  readonly snapshots?: SavedSnapshots;
}

export class Node {
  readonly statistics: Statistics = newStatistics();
  readonly #replica: Replica;
  readonly #ports: NodePorts;
  readonly #publisher: Publisher;
  readonly #applyLoop: ApplyLoop;
  readonly #readers: ShardReader[];
  readonly #late: LateMerge | undefined;
  readonly #armer: Armer;
  readonly #looks: CommitLooks;
  #signal: AbortSignal = new AbortController().signal;

  constructor(replica: Replica, ports: NodePorts, options: NodeOptions) {
    this.#replica = replica;
    this.#ports = ports;
    const { commitHints: hints, idleLookMs: idleMs } = options;
    this.#looks = new CommitLooks(ports.clock, { ...(hints && { hints }), ...(idleMs && { idleMs }) });
    this.#armer = options.armer ?? new Armer({ replica, ...ports });
    this.#armer.onRepublish = (tables) => this.#publisher.republish(tables);
    const onSchemaChange = () => this.#armer.look(this.#signal);
    const application = new WriteWatch(ports.clock, () => this.statistics.captured, 0);
    const shared = { replica, statistics: this.statistics, application, onSchemaChange, ...ports };
    const { wireFormat, compress } = options;
    const encoder = new MessageEncoder({ origin: replica.nodeId, run: replica.run, wireFormat, compress });
    this.#publisher = new Publisher({
      ...shared,
      encoder,
      onFalseVictims: () => this.#applyLoop.tidy(),
      cursorOf: (shard) => this.#readers[shard - 1]?.cursor ?? NOTHING_READ,
      isHeld: (shard, maxMessages) => {
        const { stream, cursor } = this.#readers[shard - 1] ?? {};
        if (stream === undefined || cursor === undefined) return false;
        return options.gate?.isHeld(stream, { cursor, maxMessages }) ?? false;
      },
    });
    this.#applyLoop = new ApplyLoop({ ...shared, publisher: this.#publisher, shards: ports.streams.shards });
    const late = this.#late = options.snapshots &&
      new LateMerge({ ...shared, publisher: this.#publisher, snapshots: options.snapshots });
    this.#readers = Array.from(
      { length: ports.streams.shards },
      (_, i) =>
        new ShardReader(i + 1, {
          ...shared,
          applyLoop: this.#applyLoop,
          late,
          onBegin: (shard) => this.#publisher.recover(shard),
          onParkedDropped: () =>
            this.#publisher.republish(replica.tables.all().map((table) => table.schema.name)),
        }),
    );
    this.#armer.onRequest = () => this.#takeWishes();
  }

  /** Messages that were read and wait to be applied. */
  get queued(): number {
    return this.#applyLoop.queued;
  }

  /** Holds what is applied at a point of the streams. */
  get applyBarrier(): ApplyBarrier {
    return this.#applyLoop.barrier;
  }

  /** Per shard its stream and the last sequence applied; undefined where it is not known to go on from there. */
  cursors(): { readonly stream: string | undefined; readonly cursor: number | undefined }[] {
    return this.#readers.map(({ stream, cursor }) => ({ stream, cursor }));
  }

  /** Replicates until `stop` aborts, then sends what is in flight. Throws where the node cannot go on. */
  async run(stop: AbortSignal): Promise<void> {
    const { clock, log } = this.#ports;
    const halt = new AbortController();
    const end = new AbortController();
    const signal = this.#signal = end.signal;
    await this.#armer.look(signal);
    if (this.#replica.recovery.isResyncWanted) {
      await whileBusy(() => this.#takeWishes(), { ...this.#ports, signal });
    }
    const ended = Promise.withResolvers<void>();
    const loops = [
      this.#publisher.run(halt.signal),
      this.#applyLoop.run(signal),
      this.#lookRegularly(signal),
      ...this.#readers.map((reader) => reader.run(signal)),
      this.#late?.run(signal) ?? Promise.resolve(),
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
      halt.abort();
      end.abort();
      await Promise.all(loops);
    }
  }

  /**
   * Has the streams begin anew that the operator wants to be read from somewhere else, or a snapshot to be taken over for.
   * Throws DatabaseBusyError.
   */
  #takeWishes(): void {
    const taken = this.#replica.recovery.takeUpResync(this.#readers.length);
    for (const shard of taken?.refused ?? []) {
      this.#ports.log.error("cannot resync a stream: this node has no such shard", { shard });
    }
    const moved = new Set(taken?.shards);
    for (const [i, reader] of this.#readers.entries()) {
      const isMergeWished = reader.stream !== undefined &&
        this.#replica.recovery.isMergeWished(reader.stream);
      if (moved.has(i + 1) || isMergeWished) reader.restart();
    }
  }

  async #lookRegularly(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    let captured = 0;
    let comparedAtMs = 0;
    let armedAtMs = 0;
    try {
      while (!signal.aborted) {
        if (clock.nowMs() - comparedAtMs >= COMPARE_FILE_MS) {
          this.#replica.assertSameFile();
          comparedAtMs = clock.nowMs();
        }
        const hasNew = this.#publisher.look() || this.statistics.captured !== captured;
        captured = this.statistics.captured;
        if (hasNew || clock.nowMs() - armedAtMs >= ARM_MS) {
          armedAtMs = clock.nowMs();
          await this.#armer.look(this.#signal);
          // What has waited for the schema, such as a table's image, may go by now.
          this.#publisher.wake();
        }
        await this.#looks.next(hasNew, signal);
      }
    } finally {
      this.#looks.close();
    }
  }
}
