/**
 * Saves a snapshot: copy, wait until all that is in it is in the streams, upload what is compressed on the way while the copy
 * is checked, switch the manifest. Invariant: every row of a snapshot that counts is what the streams say at its cursors, or
 * comes behind them.
 */
import { statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { CopyFacts } from "../../db/snapshot/copy_facts.ts";
import { errorText, MarmotError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type SnapshotEntry, snapshotObjectName } from "../../snapshot/manifest.ts";
import { FilePacker, packFrames, readFile } from "../../snapshot/packed_file.ts";
import { switchToSnapshot } from "../../snapshot/snapshot_catalog.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import type { StreamState } from "../../stream/change_streams.ts";
import { type OnBytes, sayNowAndThen } from "./byte_reports.ts";
import { encodeHeaders } from "./snapshot_headers.ts";
import { ORIGINAL_NAME, ORIGINAL_TAG_HEADER } from "./original_snapshot.ts";
import { removeTemporary, temporaryPath } from "./temporary_files.ts";
import { packInWorker } from "./worker_frames.ts";
import { doInWorker, type DoJob } from "./worker_jobs.ts";

const PENDING_LOOK_MS = 50;
const PROGRESS_MS = 250;

export type SaveStage = "copying" | "waiting" | "uploading";

/** Told now and then how many bytes of a stage are done; `total` is Infinity where that is not known. */
export type OnProgress = (stage: SaveStage, done: number, total: number) => void;

export interface SnapshotSaverParts {
  readonly dbPath: string;
  readonly store: SnapshotStore;
  readonly wireFormat: "batch" | "v0.6";
  /** Entries of the change log up to an id that were not published and read back. */
  readonly countPending: (upTo: number) => number;
  /** The streams of these names that exist. */
  readonly streamStates: (names: readonly string[]) => Promise<ReadonlyMap<string, StreamState>>;
  /** How long what is pending in the copy may take to be published and read back. */
  readonly pendingMs: number;
  /** Told when the save begins and ceases to wait for that. */
  readonly onWaiting?: (isWaiting: boolean) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly onProgress?: OnProgress;
  /** Does what takes long; in a Worker unless told. */
  readonly doJob?: DoJob;
}

export class SnapshotSaver {
  readonly #parts: SnapshotSaverParts;

  constructor(parts: SnapshotSaverParts) {
    this.#parts = parts;
  }

  /** Resolves to the snapshot, which counts by then. Throws MarmotError where none can be saved now, and the signal's reason. */
  async save(signal: AbortSignal): Promise<SnapshotEntry> {
    const { dbPath, log, clock, doJob = doInWorker } = this.#parts;
    assertRoom(dbPath);
    const startMs = clock.nowMs();
    const copy = temporaryPath(dbPath);
    try {
      log.info("saving a snapshot", { database: dbPath, store: this.#parts.store.location });
      const facts = await this.#whileGrowing(
        "copying",
        copy,
        signal,
        () => doJob("copy", { from: dbPath, to: copy }, signal),
      );
      const copiedMs = clock.nowMs();
      await this.#assertNotBehind(facts);
      await this.#awaitPublished(facts, signal).finally(() => this.#parts.onWaiting?.(false));
      const entry = await this.#upload(copy, { facts, createdAtMs: copiedMs, signal });
      await switchToSnapshot(this.#parts.store, {
        added: entry,
        signal,
        onLeftOver: (error) =>
          log.warn("what the new snapshot replaces was not removed", { reason: errorText(error) }),
      });
      if (this.#parts.wireFormat === "v0.6") await this.#uploadOriginal(copy, signal);
      const { object, objectBytes, databaseBytes } = entry;
      log.info("snapshot saved", {
        object,
        objectBytes,
        databaseBytes,
        milliseconds: clock.nowMs() - startMs,
      });
      return entry;
    } finally {
      removeTemporary(copy);
    }
  }

  /** A node that has missed messages must not hand that on. */
  async #assertNotBehind({ positions }: CopyFacts): Promise<void> {
    const states = await this.#parts.streamStates(positions.map(({ name }) => name));
    for (const { name, createdAt, cursor } of positions) {
      const state = states.get(name);
      if (state === undefined) continue;
      if (createdAt !== "" && state.createdAt !== createdAt) {
        throw behindError(`stream "${name}" was made anew`);
      }
      if (state.firstSequence > cursor + 1) {
        throw behindError(
          `it has read stream "${name}" up to ${cursor}, which begins at ${state.firstSequence}`,
        );
      }
    }
  }

  async #awaitPublished({ logTop, pending }: CopyFacts, signal: AbortSignal): Promise<void> {
    const { countPending, clock, pendingMs, onProgress } = this.#parts;
    const deadlineMs = clock.nowMs() + pendingMs;
    this.#parts.onWaiting?.(true);
    for (let left = pending; left > 0; left = countPending(logTop)) {
      signal.throwIfAborted();
      if (clock.nowMs() >= deadlineMs) {
        throw new MarmotError(
          "snapshot",
          `Cannot save a snapshot now: ${left} of its changes were not published and read back within ${
            pendingMs / 1000
          } s`,
          { hint: "A node must run on this database and reach NATS; see its log for what holds it up." },
        );
      }
      onProgress?.("waiting", pending - Math.min(left, pending), pending);
      await clock.sleep(PENDING_LOOK_MS, signal);
    }
    signal.throwIfAborted();
  }

  /** Uploads the copy, and checks it meanwhile. Where it is damaged the object does not stay. */
  async #upload(
    copy: string,
    { facts, createdAtMs, signal }: { facts: CopyFacts; createdAtMs: number; signal: AbortSignal },
  ): Promise<SnapshotEntry> {
    const { store, dbPath, doJob = doInWorker } = this.#parts;
    const nodeId = BigInt(facts.nodeId === "" ? 0 : facts.nodeId);
    const random = crypto.getRandomValues(new Uint8Array(4)).toHex();
    const object = snapshotObjectName({ createdAtMs, nodeId, random });
    const say = this.#reporter("uploading");
    const total = statSync(copy).size;
    // Who does the jobs elsewhere has no Worker.
    const frames = this.#parts.doJob === undefined ? packInWorker(copy) : packFrames(copy);
    const packer = new FilePacker(frames, (done) => say(done, total));
    let isStored = false;
    const put = async (both: AbortSignal) => {
      await store.put(object, packer.content(), { signal: both });
      isStored = true;
    };
    const inspect = (both: AbortSignal) => doJob("inspect", { from: dbPath, copy }, both);
    const [database] = await bothOrNone(signal, inspect, put).catch(async (error) => {
      if (isStored) await store.delete(object, { signal }).catch(() => {});
      throw error;
    });
    const { fileBytes, ...stored } = packer.facts();
    if (fileBytes !== database.databaseBytes) {
      throw new MarmotError("snapshot", `Cannot save a snapshot: the copy "${copy}" has changed meanwhile`);
    }
    return { object, nodeId, createdAtMs, headers: encodeHeaders(facts), ...stored, ...database };
  }

  /** What nodes of the original look for: the plain file under its one name. */
  async #uploadOriginal(copy: string, signal: AbortSignal): Promise<void> {
    const { doJob = doInWorker } = this.#parts;
    const { tag } = await doJob("stripAll", { path: copy }, signal);
    const headers = { [ORIGINAL_TAG_HEADER]: tag };
    const say = this.#reporter("uploading");
    const total = statSync(copy).size;
    await this.#parts.store.put(ORIGINAL_NAME, readFile(copy, (done) => say(done, total)), {
      signal,
      headers,
    });
  }

  /** Does the work, and reports meanwhile how large the file is that it writes. */
  async #whileGrowing<T>(
    stage: SaveStage,
    path: string,
    signal: AbortSignal,
    work: () => Promise<T>,
  ): Promise<T> {
    const done = new AbortController();
    const say = this.#reporter(stage);
    const ended = AbortSignal.any([signal, done.signal]);
    const watching = (async () => {
      while (!ended.aborted) {
        await this.#parts.clock.sleep(PROGRESS_MS, ended);
        const size = statSync(path, { throwIfNoEntry: false })?.size;
        if (!ended.aborted && size !== undefined) say(size, Infinity);
      }
    })();
    try {
      return await work();
    } finally {
      done.abort();
      await watching;
    }
  }

  /** Tells a person at once and the log now and then. */
  #reporter(stage: SaveStage): OnBytes {
    const say = sayNowAndThen(`${stage} the snapshot`, this.#parts);
    return (done, total) => {
      this.#parts.onProgress?.(stage, done, total);
      say(done, total);
    };
  }
}

/** Does both beside each other; where one fails the other is given up, and awaited. */
async function bothOrNone<A, B>(
  signal: AbortSignal,
  first: (signal: AbortSignal) => Promise<A>,
  second: (signal: AbortSignal) => Promise<B>,
): Promise<[A, B]> {
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const works = [first(both), second(both)] as const;
  try {
    return await Promise.all(works);
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(works);
    throw error;
  }
}

/** The copy stands beside the database; the application must not run out of room for it. */
function assertRoom(dbPath: string): void {
  const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const neededBytes = sizeOf(dbPath) + sizeOf(`${dbPath}-wal`);
  const { bavail, bsize } = statfsSync(dirname(dbPath));
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  throw new MarmotError(
    "snapshot",
    `Cannot save a snapshot of "${dbPath}": it takes up to ${neededBytes} bytes beside the database, ${freeBytes} are free`,
    { hint: "Make room on the disk of the database." },
  );
}

function behindError(reason: string): MarmotError {
  return new MarmotError("snapshot", `Cannot save a snapshot of this node, it is out of date: ${reason}`, {
    hint: "Save the snapshot of another node.",
  });
}
