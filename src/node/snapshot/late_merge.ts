/**
 * Brings a running node up to date of which the server has trimmed messages that it had not read: takes the newest snapshot
 * over into the live database, stream by stream, each from its own place in the snapshot on.
 *
 *   publishing halts ─► snapshot beside the database ─► page after page ─► cursor and marks move ─► the reader goes on
 */
import type { Replica } from "../../db/replica.ts";
import type { MergeRequest, SnapshotMerge } from "../../db/snapshot/snapshot_merge.ts";
import { openSnapshot } from "../../db/snapshot/open_snapshot.ts";
import type { StreamPosition } from "../../db/state/stream_positions.ts";
import { errorText, MarmotError, SchemaMismatchError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";
import type { Clock } from "../../runtime/clock.ts";
import { Wakeup } from "../../runtime/wakeup.ts";
import type { StreamState } from "../../stream/change_streams.ts";
import type { NodeId } from "../../wire/batch.ts";
import type { Publisher } from "../publisher.ts";
import { Router } from "../router.ts";
import type { LateStreams } from "../shard_reader.ts";
import { whileBusy } from "../while_busy.ts";
import { WriteWatch } from "../write_watch.ts";
import { type OnBytes, SAY_PROGRESS_MS, sayNowAndThen } from "./byte_reports.ts";
import type { Unusable } from "./candidates.ts";

/** Streams are found to be late one after the other: what comes within this time is done with one download. */
const GATHER_MS = 200;
/** A snapshot that could not be fetched, as on a full disk, is not fetched again before that. */
const FETCH_AGAIN_MS = 30_000;

export interface SavedSnapshot {
  readonly name: string;
  readonly savedBy: NodeId;
  /** How far each stream was applied to its rows. */
  readonly positions: readonly StreamPosition[];
  /** Puts its checked database at a path of its own and returns that. Throws MarmotError where it cannot be used. */
  fetch(options: { readonly signal: AbortSignal; readonly onBytes: OnBytes }): Promise<string>;
  /** Removes what `fetch` has left. */
  remove(path: string): void;
}

/** One that this release cannot take over, whatever the stream. */
export interface UnusableSnapshot extends Unusable {
  readonly name: string;
}

/** Where snapshots are found. */
export interface SavedSnapshots {
  /** The newest first. Throws MarmotError where the store fails. */
  list(signal: AbortSignal): Promise<readonly (SavedSnapshot | UnusableSnapshot)[]>;
}

export interface LateMergeParts {
  readonly replica: Replica;
  readonly publisher: Pick<Publisher, "wireFormat" | "halt">;
  readonly snapshots: SavedSnapshots;
  readonly streams: { readonly shards: number };
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly onSchemaChange: () => Promise<void>;
}

interface LateStream {
  readonly shard: number;
  readonly state: StreamState;
  /** Called with why it could not be brought up to date, undefined where it was. */
  readonly end: (reason: string | undefined) => void;
}

interface Refused {
  readonly reason: string;
  /** Whether it stays so as long as the schema does. */
  readonly isFinal: boolean;
}

/** Streams that are not up to date yet, each with what was in the way of every snapshot. */
type Left = Map<LateStream, Set<string>>;
type Named = Pick<SavedSnapshot, "name">;

/** Why a snapshot is not taken, for which schema, and until when. */
interface Refusal {
  readonly reason: string;
  readonly schema: number;
  readonly untilMs: number;
}

export class LateMerge implements LateStreams {
  readonly #parts: LateMergeParts;
  readonly #router: Router;
  readonly #wakeup = new Wakeup();
  #late: LateStream[] = [];
  #isOver = false;
  /** By snapshot and stream. */
  readonly #refused = new Map<string, Refusal>();

  constructor(parts: LateMergeParts) {
    this.#parts = parts;
    this.#router = new Router(parts.publisher.wireFormat, parts.streams.shards);
  }

  catchUp(shard: number, state: StreamState, signal: AbortSignal): Promise<string | undefined> {
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    if (signal.aborted || this.#isOver) resolve(STOPPING);
    else this.#late.push({ shard, state, end: resolve });
    this.#wakeup.ring();
    return promise;
  }

  /** Brings late streams up to date until the signal aborts. Throws where the database or this program is not sound. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#wakeup.ring());
    try {
      while (!signal.aborted) {
        if (this.#late.length === 0) await this.#wakeup.wait();
        else {
          await this.#parts.clock.sleep(GATHER_MS, signal);
          await this.#mergeAll(this.#late.splice(0), signal);
        }
      }
    } finally {
      // Readers that wait would keep a node from its end.
      this.#isOver = true;
      for (const stream of this.#late.splice(0)) stream.end(STOPPING);
    }
  }

  /** What is in the way is told to the readers, who try again. */
  async #mergeAll(late: readonly LateStream[], signal: AbortSignal): Promise<void> {
    const left: Left = new Map(late.map((stream) => [stream, new Set()]));
    try {
      for (const snapshot of await this.#parts.snapshots.list(signal)) {
        const fitting = [...left].filter(([stream, reasons]) => {
          const misfit = judgePlace(snapshot, stream.state) ?? this.#checkStranger(stream) ??
            this.#refusal(snapshot, stream);
          if (misfit !== undefined) reasons.add(misfit);
          return misfit === undefined;
        }).map(([stream]) => stream);
        if (fitting.length === 0) continue;
        if ("unusable" in snapshot) {
          this.#passOver(snapshot, fitting, { left, reason: snapshot.unusable, isFinal: true });
        } else await this.#mergeFrom(snapshot, fitting, { left, signal });
        if (left.size === 0) return;
      }
    } catch (error) {
      if (!signal.aborted && !(error instanceof MarmotError)) throw error;
      for (const reasons of left.values()) reasons.add(errorText(error));
    } finally {
      for (const [stream, reasons] of left) stream.end([...reasons].join("; ") || NO_SNAPSHOT);
    }
  }

  /** Why a snapshot cannot be taken over, where that is known from before: it is not fetched again and again. */
  #refusal({ name }: Named, { state }: LateStream): string | undefined {
    const known = this.#refused.get(`${name} ${state.name}`);
    const { replica, clock } = this.#parts;
    const isStill = known?.schema === replica.armedVersion && clock.nowMs() < known.untilMs;
    return isStill ? known.reason : undefined;
  }

  #refuse({ name }: Named, { state }: LateStream, { reason, isFinal }: Refused): void {
    const { replica, clock } = this.#parts;
    const untilMs = isFinal ? Infinity : clock.nowMs() + FETCH_AGAIN_MS;
    this.#refused.set(`${name} ${state.name}`, { reason, schema: replica.armedVersion, untilMs });
  }

  /** Leaves a snapshot alone of which nothing came, and says so; the one before may do. */
  #passOver(
    snapshot: Named,
    late: readonly LateStream[],
    { left, reason, isFinal }: Refused & { left: Left },
  ): void {
    const { name } = snapshot;
    for (const stream of late) {
      const named = `${name}: ${reason}`;
      left.get(stream)?.add(named);
      this.#refuse(snapshot, stream, { reason: named, isFinal });
    }
    this.#parts.log.warn("this snapshot cannot be taken over", { snapshot: name, reason });
  }

  /** Rows that never were any node's but this one's must not be deleted without being asked for. */
  #checkStranger({ state }: LateStream): string | undefined {
    const { replica } = this.#parts;
    return !replica.recovery.isMergeWished(state.name) && replica.recovery.isStranger()
      ? STRANGER
      : undefined;
  }

  /** Takes streams over from a snapshot; those that are done leave `left`. */
  async #mergeFrom(
    snapshot: SavedSnapshot,
    late: readonly LateStream[],
    { left, signal }: { left: Left; signal: AbortSignal },
  ): Promise<void> {
    const { clock, log } = this.#parts;
    let path: string | undefined;
    let saved: Replica | undefined;
    try {
      log.info("taking a snapshot over", { snapshot: snapshot.name, ofNode: snapshot.savedBy });
      path = await snapshot.fetch({ signal, onBytes: sayNowAndThen("fetching the snapshot", this.#parts) });
      saved = openSnapshot(path, { nowMs: () => clock.nowMs(), log });
      saved.arm();
      for (const stream of late) {
        const reason = await this.#mergeStream(stream, { saved, savedBy: snapshot.savedBy, signal });
        if (reason !== undefined) {
          left.get(stream)?.add(reason);
          this.#refuse(snapshot, stream, { reason, isFinal: true });
        } else {
          left.delete(stream);
          stream.end(undefined);
        }
      }
    } catch (error) {
      if (!(error instanceof MarmotError) || error.code === "identity") throw error;
      const isFinal = error instanceof DamagedSnapshotError;
      const waiting = late.filter((stream) => left.has(stream));
      this.#passOver(snapshot, waiting, { left, reason: error.message, isFinal });
    } finally {
      saved?.close();
      if (path !== undefined) snapshot.remove(path);
    }
  }

  /** Returns why a stream cannot be taken over now, undefined where it was. */
  async #mergeStream(
    { shard, state }: LateStream,
    { saved, savedBy, signal }: { saved: Replica; savedBy: NodeId; signal: AbortSignal },
  ): Promise<string | undefined> {
    const { replica, publisher, log, clock } = this.#parts;
    const startMs = clock.nowMs();
    const request = {
      stream: state.name,
      savedBy,
      stored: await publisher.halt(shard, signal),
      isOfStream: (table, key) => this.#router.shardOf(table, key) === shard,
      hasStream: (table) => this.#router.shardsOf(table).includes(shard),
    } satisfies MergeRequest;
    for (;;) {
      signal.throwIfAborted();
      try {
        const merge = replica.recovery.snapshotMerge(saved, request);
        if (!await this.#runMerge(merge, state.name, signal)) continue;
        log.info("snapshot taken over", {
          stream: state.name,
          readsFrom: replica.positions.get(state.name).cursor + 1,
          ...merge.counts,
          milliseconds: clock.nowMs() - startMs,
        });
        return undefined;
      } catch (error) {
        if (!(error instanceof SchemaMismatchError)) throw error;
        return error.message;
      }
    }
  }

  /** Whether the merge came to its end: not where the schema has changed. */
  async #runMerge(merge: SnapshotMerge, stream: string, signal: AbortSignal): Promise<boolean> {
    const { replica, clock, log, onSchemaChange } = this.#parts;
    let saidAtMs = clock.nowMs();
    const application = new WriteWatch(clock, () => replica.log.highestId());
    for (;;) {
      const startMs = clock.nowMs();
      const step = await whileBusy(() => merge.step(), { ...this.#parts, signal });
      if (step === "done") return true;
      signal.throwIfAborted();
      if (step === "schema") {
        await onSchemaChange();
        return false;
      }
      if (clock.nowMs() - saidAtMs >= SAY_PROGRESS_MS) {
        saidAtMs = clock.nowMs();
        log.info("taking the snapshot over", { stream, ...merge.counts });
      }
      // The application sleeps between two tries at the lock: it must find it free often enough.
      const isShared = application.isWriting();
      await clock.sleep(Math.max(1, (clock.nowMs() - startMs) * (isShared ? 2 : 0.25)), signal);
    }
  }
}

const NO_SNAPSHOT = "there is no snapshot";

const STRANGER =
  "this database has rows and has never read a stream: a snapshot would replace them. Start with an empty database, or say " +
  "marmot resync -from snapshot";
const STOPPING = "the node is stopping";

/** Why a node cannot read a stream on from where a snapshot ends; undefined where it can. */
function judgePlace(snapshot: SavedSnapshot | UnusableSnapshot, state: StreamState): string | undefined {
  if ("unusable" in snapshot) return undefined;
  const { name, positions } = snapshot;
  const place = positions.find((position) => position.name === state.name);
  if (!place) return `snapshot ${name} is of other streams`;
  if (place.createdAt !== "" && place.createdAt !== state.createdAt) {
    return `snapshot ${name} is of a stream that was lost and made anew since`;
  }
  if (place.cursor > state.lastSequence) return `snapshot ${name} is of a stream that has lost its end since`;
  if (state.firstSequence <= place.cursor + 1) return undefined;
  return `snapshot ${name} is too old: it ends at ${place.cursor} of a stream that begins at ${state.firstSequence} by now`;
}
