/**
 * A node without a database takes the newest sound snapshot, and with it the place in the streams from which it reads on.
 * The file appears when it is complete, captured and on disk; killed before that, the node begins again.
 */
import type { Replica } from "../../db/replica.ts";
import { openSnapshot } from "../../db/snapshot/open_snapshot.ts";
import { type Occupancy, placeDatabase } from "../../db/snapshot/place_database.ts";
import { errorText, MarmotError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import type { Clock } from "../../runtime/clock.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import type { StreamAtRest } from "../../stream/stream_states.ts";
import { sayNowAndThen } from "./byte_reports.ts";
import { type Candidate, findMisfit, listCandidates } from "./candidates.ts";
import { fetchSnapshot } from "./fetch_snapshot.ts";
import { removeTemporary, temporaryPath } from "./temporary_files.ts";
import type { DoJob } from "./worker_jobs.ts";

/** A store that fails is asked again, with these pauses between. */
const RETRY_MS = [500, 2000, 5000];
const SESSION_LOOK_MS = 100;

export interface TakeSnapshotParts {
  /** Where the database goes. */
  readonly dbPath: string;
  /** Names of the streams of all shards. */
  readonly streamNames: readonly string[];
  /** Those that exist. */
  readonly streamStates: () => Promise<ReadonlyMap<string, StreamAtRest>>;
  readonly store: SnapshotStore;
  /** Whether the connection is lost, and will be made again. */
  readonly isAway: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly stop: AbortSignal;
  /** Does what takes long; in a Worker unless told. */
  readonly doJob?: DoJob;
  /** Does what waits for files alone; at once unless told. */
  readonly onFiles?: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Puts the newest snapshot that can be used where the database goes. Throws MarmotError where there is none. */
export async function takeNewest(parts: TakeSnapshotParts, occupancy: Occupancy): Promise<void> {
  const { dbPath, log, store, stop } = parts;
  const candidates = await patiently(parts, () => listCandidates(store, stop));
  if (candidates.length === 0) {
    if (occupancy === "empty") {
      return log.info("there is no snapshot: the node begins with the empty database");
    }
    throw new MarmotError(
      "snapshot",
      `Cannot start without a database: "${dbPath}" does not exist, and there is no snapshot in ${store.location}`,
      {
        hint:
          "Save a snapshot where there is a database (marmot snapshot save), start the application first, or check -db-path.",
      },
    );
  }
  const reasons: string[] = [];
  for (const candidate of candidates) {
    try {
      await take(parts, candidate);
      return;
    } catch (error) {
      stop.throwIfAborted();
      if (!(error instanceof MarmotError) || error.code !== "snapshot") throw error;
      reasons.push(`${candidate.name}: ${error.message}`);
      log.warn("this snapshot cannot be used", { snapshot: candidate.name, reason: error.message });
    }
  }
  throw new MarmotError(
    "snapshot",
    `Cannot start without a database: no snapshot in ${store.location} can be used (${reasons.join("; ")})`,
    {
      hint:
        "Save a new one on a node that runs and is up to date (marmot snapshot save), or name another store in -snapshot-url.",
    },
  );
}

async function take(parts: TakeSnapshotParts, candidate: Candidate): Promise<void> {
  const { dbPath, streamNames, streamStates, store, clock, log, stop: signal, doJob } = parts;
  const onFiles = parts.onFiles ?? ((work) => work());
  const states = await patiently(parts, streamStates);
  const misfit = findMisfit(candidate, { names: streamNames, states });
  if (misfit !== undefined) throw new DamagedSnapshotError(misfit);
  const path = temporaryPath(dbPath);
  const startMs = clock.nowMs();
  try {
    log.info("taking a snapshot", describe(candidate));
    const onBytes = sayNowAndThen("taking the snapshot", parts);
    const options = { to: path, signal, onBytes, ...doJob ? { doJob } : {} };
    await patiently(parts, () => onFiles(() => fetchSnapshot(store, candidate, options)));
    arm(parts, path, candidate);
    if (candidate.kind === "original") beginBehindOriginal(parts, { path, candidate, states });
    await onFiles(() => placeDatabase(path, dbPath));
    log.info("the snapshot is in place", { database: dbPath, milliseconds: clock.nowMs() - startMs });
  } finally {
    removeTemporary(path);
  }
}

/** Captures from the first moment that an application can see the file. */
function arm(parts: TakeSnapshotParts, path: string, { name }: Candidate): void {
  withReplica(parts, path, (replica) => {
    replica.arm();
    replica.recovery.beginWith(name);
  });
}

/**
 * The original does not tell where its snapshot stands. Its rows come from before the upload, so all that the streams
 * still have is read on top of them.
 */
function beginBehindOriginal(
  parts: TakeSnapshotParts,
  { path, candidate, states }: {
    path: string;
    candidate: Candidate & { kind: "original" };
    states: ReadonlyMap<string, StreamAtRest>;
  },
): void {
  withReplica(parts, path, ({ positions, connection }) =>
    connection.write(() => {
      for (const { name, createdAt, firstSequence, firstStoredAt } of states.values()) {
        if (firstSequence <= 1) continue;
        positions.set({ name, createdAt, cursor: firstSequence - 1, storedAt: "" });
        if (firstStoredAt !== undefined && firstStoredAt <= candidate.info.modifiedAt) continue;
        parts.log.warn(
          "the original's snapshot may be older than the first message of a stream: rows may be missing",
          {
            stream: name,
            first: firstSequence,
          },
        );
      }
      positions.save();
    }));
}

function withReplica(
  { clock, log }: TakeSnapshotParts,
  path: string,
  work: (replica: Replica) => void,
): void {
  const replica = openSnapshot(path, { nowMs: () => clock.nowMs(), log });
  try {
    work(replica);
  } finally {
    replica.close();
  }
}

/** Tries again what the network may have broken; for as long as NATS is away, without end. */
async function patiently<T>(
  { isAway, clock, log, stop }: TakeSnapshotParts,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let failures = 0;;) {
    stop.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      stop.throwIfAborted();
      // The same again, whoever is asked.
      if (error instanceof DamagedSnapshotError || isOfDisk(error)) throw error;
      const wasAway = isAway();
      const pauseMs = RETRY_MS[failures];
      if (!wasAway && pauseMs === undefined) throw error;
      log.warn("cannot read from the snapshot store, trying again", { reason: errorText(error) });
      if (!wasAway) failures++;
      await clock.sleep(pauseMs ?? SESSION_LOOK_MS, stop);
      while (isAway() && !stop.aborted) await clock.sleep(SESSION_LOOK_MS, stop);
    }
  }
}

function isOfDisk(error: unknown): boolean {
  return error instanceof MarmotError && error.code === "database";
}

function describe(candidate: Candidate): Record<string, string | number | bigint> {
  if (candidate.kind === "original") return { snapshot: candidate.name, bytes: candidate.info.sizeBytes };
  const { entry: { object, nodeId, objectBytes, createdAtMs } } = candidate;
  return { snapshot: object, ofNode: nodeId, at: new Date(createdAtMs).toISOString(), bytes: objectBytes };
}
