/**
 * One life of a node that saves snapshots: the very saver and the very rule when to save, on virtual time. What takes
 * long in a Worker is done in a moment here, and its outcome comes later.
 */
import type { Replica } from "../../src/db/replica.ts";
import { countPending } from "../../src/db/snapshot/copy_facts.ts";
import { errorText, MarmotError } from "../../src/errors.ts";
import type { Node } from "../../src/node/node.ts";
import { AutomaticSaves } from "../../src/node/snapshot/automatic_saves.ts";
import { SnapshotGate } from "../../src/node/snapshot/snapshot_gate.ts";
import { snapshotJobs } from "../../src/node/snapshot/snapshot_jobs.ts";
import { SnapshotSaver } from "../../src/node/snapshot/snapshot_saver.ts";
import type { DoJob } from "../../src/node/snapshot/worker_jobs.ts";
import { silentLog } from "../../src/observability/log.ts";
import { readManifest } from "../../src/snapshot/snapshot_catalog.ts";
import type { StreamAtRest } from "../../src/stream/stream_states.ts";
import { type MemorySnapshots, SnapshotView } from "./memory_snapshots.ts";
import type { MemoryStreams } from "./memory_streams.ts";
import type { Random } from "./random.ts";
import type { Life } from "./virtual_time.ts";

/** The longest that a job takes. */
const JOB_MS = 150;
const NEVER = new AbortController().signal;

export interface SavingParts {
  readonly dbPath: string;
  readonly replica: Replica;
  readonly snapshots: MemorySnapshots;
  readonly streams: MemoryStreams;
  readonly life: Life;
  readonly random: Random;
  /** How far the node has read a shard's stream, for checks. */
  readonly cursorOf: (shard: number) => number;
  /** How long what is pending in a copy may take. */
  readonly pendingMs: number;
  /** Told what came of a save that was asked for. */
  readonly say: (text: string) => void;
  /** Told of an error that no network and no operator makes. */
  readonly onFailure: (error: unknown) => void;
}

export class Saving {
  readonly gate: SnapshotGate;
  readonly #parts: SavingParts;
  readonly #view: SnapshotView;
  #asked = new AbortController();
  #saves = 0;

  constructor(parts: SavingParts) {
    this.#parts = parts;
    this.gate = new SnapshotGate({ log: silentLog, clock: parts.life });
    const { streams, cursorOf } = parts;
    this.#view = new SnapshotView({
      ...parts,
      cursors: () => Array.from({ length: streams.shards }, (_, i) => cursorOf(i + 1)),
    });
  }

  /** Saves by the rule from now on. */
  runAutomatically(node: Pick<Node, "cursors">): void {
    const { replica, streams, life, random } = this.#parts;
    const { maxMessages } = streams;
    const saves = new AutomaticSaves({
      holder: String(replica.nodeId),
      maxLogEntries: Math.min(maxMessages, 60) * streams.shards,
      streamNames: Array.from({ length: streams.shards }, (_, i) => `stream-${i + 1}`),
      streamStates: () => statesOf(streams),
      readManifest: (signal) => readManifest(this.#view, { signal }),
      save: (signal) =>
        this.#saver((isWaiting) => void (this.gate.isOpen = isWaiting)).save(signal).catch((error) => {
          this.#judge(error);
          throw error;
        }),
      canSave: () =>
        replica.tables.all().length > 0 && node.cursors().every(({ cursor }) => cursor !== undefined),
      leases: this.#view,
      gate: this.gate,
      clock: life,
      random: random.next,
      log: silentLog,
    });
    saves.run(NEVER).catch((error) => this.#judge(error));
  }

  /** Saves once, as the operator's command beside a running node. */
  save(): void {
    const { say } = this.#parts;
    const { signal } = this.#asked;
    this.#saves++;
    this.#saver().save(signal).then(
      ({ createdAtMs }) => say(`has saved the snapshot of ${createdAtMs % 1_000_000}`),
      (error) => {
        if (signal.aborted && error === signal.reason) return;
        say(`saves no snapshot: ${errorText(error)}`);
        this.#judge(error);
      },
    ).finally(() => this.#saves--);
  }

  /** The same, unless the operator's last command is still at it. */
  saveUnlessSaving(): void {
    if (this.#saves === 0) this.save();
  }

  /** The operator ends the command. */
  giveUp(): void {
    this.#asked.abort();
    this.#asked = new AbortController();
  }

  #saver(onWaiting?: (isWaiting: boolean) => void): SnapshotSaver {
    const { dbPath, replica, streams, life, random, pendingMs } = this.#parts;
    return new SnapshotSaver({
      dbPath,
      store: this.#view,
      wireFormat: "batch",
      countPending: (upTo) => countPending(replica.connection, upTo),
      streamStates: () => statesOf(streams),
      pendingMs,
      ...onWaiting ? { onWaiting } : {},
      clock: life,
      log: silentLog,
      doJob: jobsOf(life, random),
    });
  }

  #judge(error: unknown): void {
    const { life, onFailure } = this.#parts;
    const isForeseen = error instanceof MarmotError && error.code !== "internal";
    const isNetwork = error instanceof Error && error.message === "no connection";
    if (!life.isOver && !isForeseen && !isNetwork) onFailure(error);
  }
}

/** Jobs that are done at one moment, each alone, and whose outcome comes later. */
function jobsOf(life: Life, random: Random): DoJob {
  return async (name, request, signal) => {
    signal.throwIfAborted();
    const job = snapshotJobs[name] as (request: unknown) => Promise<unknown>;
    const result = await life.outside(() => job(request), random.below(JOB_MS));
    signal.throwIfAborted();
    // deno-lint-ignore no-explicit-any -- the outcome of the job of that name
    return result as any;
  };
}

/** The streams of all shards. */
export async function statesOf(streams: MemoryStreams): Promise<Map<string, StreamAtRest>> {
  const states = new Map<string, StreamAtRest>();
  for (let shard = 1; shard <= streams.shards; shard++) {
    const state = await streams.describe(shard);
    states.set(state.name, { ...state, firstStoredAt: undefined });
  }
  return states;
}
