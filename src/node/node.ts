/**
 * One node: a database and its streams, and the loops between them. Here db meets stream.
 *
 *   file event ─► Publisher ─► streams ─► ShardReader (one per shard) ─► ApplyLoop ─► tables
 *
 * All that a node takes from outside comes through NodePorts, so the simulation runs this very code.
 */
import type { ArmingReport } from "../db/arming.ts";
import type { Replica } from "../db/replica.ts";
import { DatabaseBusyError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeStreams } from "../stream/change_streams.ts";
import { ApplyLoop } from "./apply_loop.ts";
import { MessageEncoder } from "./message_encoder.ts";
import { Publisher } from "./publisher.ts";
import { ShardReader } from "./shard_reader.ts";
import { newStatistics, type Statistics } from "./statistics.ts";

/** The safety net under file events. */
const LOOK_INTERVAL_MS = 100;
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
}

export class Node {
  readonly statistics: Statistics = newStatistics();
  readonly #replica: Replica;
  readonly #ports: NodePorts;
  readonly #publisher: Publisher;
  readonly #applyLoop: ApplyLoop;
  readonly #readers: ShardReader[];
  readonly #said = new Set<string>();
  #arming: Promise<void> | undefined;
  #signal: AbortSignal = new AbortController().signal;

  constructor(replica: Replica, ports: NodePorts, options: NodeOptions) {
    this.#replica = replica;
    this.#ports = ports;
    const shared = { replica, statistics: this.statistics, onSchemaChange: () => this.#arm(), ...ports };
    const encoder = new MessageEncoder({ origin: replica.nodeId, run: replica.run, ...options });
    this.#publisher = new Publisher({
      ...shared,
      encoder,
      cursorOf: (shard) => this.#readers[shard - 1]?.cursor ?? 0,
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
    await this.#arm();
    const stopWatching = watchFiles(() => this.#publisher.wake());
    const ended = Promise.withResolvers<void>();
    const loops = [
      this.#publisher.run(halt.signal),
      this.#applyLoop.run(signal),
      this.#look(signal),
      ...this.#readers.map((reader) => reader.run(signal)),
    ].map((loop) => loop.catch((error) => ended.reject(error)));
    const finish = () => ended.resolve();
    stop.addEventListener("abort", finish);
    if (stop.aborted) finish();
    log.debug("replicating");
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

  async #look(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#publisher.wake();
      await this.#ports.clock.sleep(LOOK_INTERVAL_MS, signal);
    }
  }

  /** Arms the tables for the schema as it is now; callers that come meanwhile wait for the same. */
  #arm(): Promise<void> {
    this.#arming ??= this.#armOnce().finally(() => this.#arming = undefined);
    return this.#arming;
  }

  async #armOnce(): Promise<void> {
    const report = await this.#whileBusy(() => this.#replica.arm());
    if (!report) return;
    this.#say(report);
    const changed = [...report.appeared, ...report.uncaptured];
    for (const id of [...report.gainedColumns, ...report.uniqueChanged]) {
      const name = this.#replica.tables.byId(id)?.schema.name;
      if (name !== undefined) changed.push(name);
    }
    this.#publisher.recover([...new Set(changed.flatMap((name) => this.#publisher.shardsOf(name)))]);
    await this.#whileBusy(() => this.#replica.retryParked());
    this.#publisher.wake();
  }

  /** Tries again while another connection holds the lock; undefined when the node stops meanwhile. */
  async #whileBusy<T>(work: () => T): Promise<T | undefined> {
    while (!this.#signal.aborted) {
      try {
        return work();
      } catch (error) {
        if (!(error instanceof DatabaseBusyError)) throw error;
        await this.#ports.clock.sleep(2 + 8 * this.#ports.random(), this.#signal);
      }
    }
    return undefined;
  }

  #say(report: ArmingReport): void {
    const { log } = this.#ports;
    log.info("tables armed", { tables: report.tables.length });
    for (const { name, reason } of report.excluded) this.#warnOnce("table is not replicated", name, reason);
    for (const table of report.tables) {
      if (table.schema.keyKind !== "rowid") continue;
      this.#warnOnce(
        "table has no primary key: its rows are told apart by their rowid, which VACUUM renumbers",
        table.schema.name,
      );
    }
    for (const table of report.appeared) log.info("new table: its rows are published", { table });
    for (const table of report.dropped) log.info("table was dropped", { table });
    for (const [from, to] of report.renamed) log.info("table was renamed", { from, to });
    for (const table of report.uncaptured) {
      log.warn(
        "table was changed without capture: its rows are published again, deletions meanwhile are not known",
        { table },
      );
    }
  }

  #warnOnce(event: string, table: string, reason?: string): void {
    const said = `${event} ${table} ${reason ?? ""}`;
    if (this.#said.has(said)) return;
    this.#said.add(said);
    this.#ports.log.warn(event, { table, reason });
  }
}
