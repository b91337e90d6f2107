/**
 * Saves snapshots by the rule of save_policy.ts, one node at a time: who holds the lease saves. The lease expires by
 * itself at the broker, so one who dies does not block the others; two who both believe to hold it leave a whole
 * snapshot each.
 */
import { errorText, MarmotError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import { backoffDelayMs } from "../../runtime/backoff.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Manifest, SnapshotEntry } from "../../snapshot/manifest.ts";
import type { StreamState } from "../../stream/change_streams.ts";
import type { LeaseName } from "../../stream/kv_node_claims.ts";
import { findStranger } from "./candidates.ts";
import { decideOnSave, type SaveReason, type ShardCoverage } from "./save_policy.ts";
import type { SnapshotGate } from "./snapshot_gate.ts";
import { decodeHeaders } from "./snapshot_headers.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";

const LOOK_MS = 2_000;
const BACKOFF = { firstMs: 2_000, maxMs: 120_000 };
/** Who is a little later finds the lease taken, and looks again. */
const JITTER_MS = 500;
/** Failures in a row after which a manifest counts as damaged: a save replaces it. */
const UNREADABLE = 3;

export interface Leases {
  leaseMs(): Promise<number>;
  putLease(name: LeaseName, holder: string, revision: number | undefined): Promise<number | undefined>;
  releaseLease(name: LeaseName, revision: number): Promise<void>;
}

export interface AutomaticSavesParts {
  /** For people who look at the lease. */
  readonly holder: string;
  readonly maxLogEntries: number;
  /** Names of the streams, shard 1 first. */
  readonly streamNames: readonly string[];
  readonly streamStates: (names: readonly string[]) => Promise<ReadonlyMap<string, StreamState>>;
  readonly readManifest: (signal: AbortSignal) => Promise<Manifest>;
  readonly save: (signal: AbortSignal) => Promise<SnapshotEntry>;
  /** Whether there is something to save, by a node that is up to date. */
  readonly canSave: () => boolean;
  readonly leases: Leases;
  readonly gate: SnapshotGate;
  readonly clock: Clock;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
  readonly log: Log;
}

export class AutomaticSaves {
  readonly #parts: AutomaticSavesParts;
  #newest: string | undefined;
  #newestAtMs = -Infinity;
  #lastSaveTookMs = 0;
  #manifestFailures = 0;
  #pause = new AbortController();

  constructor(parts: AutomaticSavesParts) {
    this.#parts = parts;
    parts.gate.onHold = () => this.#pause.abort();
  }

  /** Saves when it is time until the signal aborts. Never throws: replication goes on without snapshots. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#parts;
    for (let failures = 0; !signal.aborted;) {
      this.#pause = new AbortController();
      const delayMs = failures === 0 ? LOOK_MS : backoffDelayMs(failures, { ...BACKOFF, random });
      await clock.sleep(delayMs, AbortSignal.any([signal, this.#pause.signal]));
      if (signal.aborted) return;
      try {
        await this.#saveIfDue(signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        const level = error instanceof MarmotError && failures > 1 ? "warn" : "info";
        log[level]("no snapshot could be saved, trying again later", { reason: errorText(error) });
      }
    }
  }

  async #saveIfDue(signal: AbortSignal): Promise<void> {
    const { clock, random, leases, holder } = this.#parts;
    if (!this.#parts.canSave() || await this.#look(signal) === undefined) return;
    await clock.sleep(random() * JITTER_MS, signal);
    const revision = await leases.putLease("save-snapshot", holder, undefined);
    if (revision === undefined || signal.aborted) return;
    await this.#withLease(revision, signal, async () => {
      // Who held it before may have saved in this moment.
      const reason = await this.#look(signal);
      if (reason !== undefined) await this.#save(reason, signal);
    });
  }

  async #save(reason: SaveReason, signal: AbortSignal): Promise<void> {
    const { clock, log, save } = this.#parts;
    log.debug("a snapshot is due", { reason });
    const startMs = clock.nowMs();
    try {
      this.#note(await save(signal));
      // The gate gets to know what it covers.
      await this.#look(signal);
    } finally {
      this.#lastSaveTookMs = clock.nowMs() - startMs;
      this.#parts.gate.lastSaveTookMs = this.#lastSaveTookMs;
    }
  }

  /** Why a snapshot is due, if one is; the gate gets to know what the newest covers. */
  async #look(signal: AbortSignal): Promise<SaveReason | undefined> {
    const { streamNames, streamStates, gate, clock, maxLogEntries } = this.#parts;
    const snapshots = await this.#readSnapshots(signal);
    const states = await streamStates(streamNames);
    const own = snapshots.find((entry) =>
      findStranger(positionsOf(entry), { names: streamNames, states }) === undefined
    );
    const newest = own ?? snapshots[0];
    if (newest !== undefined) this.#note(newest);
    const covered = coveredOf(newest, states);
    gate.setCovered(covered);
    const shards = streamNames.map((name): ShardCoverage => ({
      lastSequence: states.get(name)?.lastSequence ?? 0,
      maxMessages: states.get(name)?.maxMessages ?? Infinity,
      covered: covered.get(name) ?? 0,
    }));
    return decideOnSave({
      hasSnapshot: newest !== undefined,
      isOfStreams: own !== undefined,
      isWaitedFor: gate.isHolding,
      sinceSavedMs: clock.nowMs() - this.#newestAtMs,
      lastSaveTookMs: this.#lastSaveTookMs,
      shards,
      everyMessages: maxLogEntries / streamNames.length,
    });
  }

  /** Newest first. */
  async #readSnapshots(signal: AbortSignal): Promise<readonly SnapshotEntry[]> {
    try {
      const { snapshots } = await this.#parts.readManifest(signal);
      this.#manifestFailures = 0;
      return snapshots;
    } catch (error) {
      if (signal.aborted || !(error instanceof MarmotError) || ++this.#manifestFailures < UNREADABLE) {
        throw error;
      }
      return [];
    }
  }

  #note({ object, createdAtMs }: SnapshotEntry): void {
    if (object === this.#newest) return;
    const nowMs = this.#parts.clock.nowMs();
    // What was there before this process has only its saver's word for its age.
    this.#newestAtMs = this.#newest === undefined ? Math.min(nowMs, createdAtMs) : nowMs;
    this.#newest = object;
  }

  /** Does the work with the lease renewed beside it. Losing it changes nothing: the work is safe without it. */
  async #withLease(revision: number, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const { leases, clock, holder, log } = this.#parts;
    const done = new AbortController();
    const ended = AbortSignal.any([signal, done.signal]);
    let held: number | undefined = revision;
    const renewing = (async () => {
      const leaseMs = await leases.leaseMs();
      while (!ended.aborted && held !== undefined) {
        await clock.sleep(leaseMs / 3, ended);
        if (!ended.aborted) held = await leases.putLease("save-snapshot", holder, held);
      }
    })().catch((error) => log.debug("the lease for saving is not renewed", { reason: errorText(error) }));
    try {
      await work();
    } finally {
      done.abort();
      await renewing;
      const giveBack = held === undefined ? undefined : leases.releaseLease("save-snapshot", held);
      await giveBack?.catch((error) =>
        log.debug("the lease for saving expires by itself", { reason: errorText(error) })
      );
    }
  }
}

/** How far a snapshot covers the streams that are there now. */
function coveredOf(
  newest: SnapshotEntry | undefined,
  states: ReadonlyMap<string, StreamState>,
): Map<string, number> {
  const covered = new Map<string, number>();
  for (const { name, createdAt, cursor } of newest === undefined ? [] : positionsOf(newest)) {
    if (states.get(name)?.createdAt === createdAt) covered.set(name, cursor);
  }
  return covered;
}

function positionsOf(entry: SnapshotEntry) {
  try {
    return decodeHeaders(entry.headers).positions;
  } catch (error) {
    if (error instanceof DamagedSnapshotError) return [];
    throw error;
  }
}
