/**
 * A node without a database takes the newest sound snapshot, and with it the place in the streams from which it reads on.
 * The file appears when it is complete, captured and on disk; killed before that, the node begins again.
 */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { Config } from "../../config/config.ts";
import { Replica } from "../../db/replica.ts";
import { lookAtDatabase, type Occupancy, placeDatabase } from "../../db/snapshot/place_database.ts";
import { DatabaseBusyError, errorText, MarmotError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import { systemClock } from "../../runtime/clock.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import { connect, type Connection } from "../../stream/connection.ts";
import { streamName } from "../../stream/names.ts";
import { readStreamStates, type StreamAtRest } from "../../stream/stream_states.ts";
import { type Candidate, findMisfit, listCandidates } from "./candidates.ts";
import { fetchSnapshot } from "./fetch_snapshot.ts";
import { openStore } from "./store_access.ts";
import { removeTemporary, temporaryPath } from "./temporary_files.ts";

/** A store that fails is asked again, with these pauses between. */
const RETRY_MS = [500, 2000, 5000];
const SESSION_LOOK_MS = 100;
const SAY_PROGRESS_MS = 5000;

interface ColdStart {
  readonly config: Config;
  readonly log: Log;
  readonly stop: AbortSignal;
}

interface Sources {
  readonly store: SnapshotStore;
  readonly connection: Connection;
}

/** Puts a database in its place where there is none yet. Throws MarmotError where that is impossible; no file is left then. */
export async function startCold(config: Config, log: Log, stop: AbortSignal): Promise<void> {
  const occupancy = occupancyOf(config.dbPath);
  if (occupancy === "occupied") return;
  assertFolder(config.dbPath);
  log.info("there is no database yet: looking for a snapshot", { database: config.dbPath });
  const { natsUrls: urls, nodeId = 0n } = config;
  const connection = await connect({ urls, nodeId, log, signal: stop, random: Math.random });
  try {
    const store = await openStore(config, () => Promise.resolve(connection));
    try {
      await takeNewest({ config, log, stop }, { store, connection }, occupancy);
    } finally {
      await store.close();
    }
  } finally {
    await connection.close();
  }
}

/** What is locked for writing is somebody's. */
function occupancyOf(path: string): Occupancy {
  try {
    return lookAtDatabase(path);
  } catch (error) {
    if (error instanceof DatabaseBusyError) return "occupied";
    throw error;
  }
}

function assertFolder(dbPath: string): void {
  const folder = dirname(dbPath);
  if (existsSync(folder)) return;
  throw new MarmotError("database", `Cannot make the database "${dbPath}": there is no folder "${folder}"`, {
    hint: "Make the folder, or check -db-path.",
  });
}

async function takeNewest(start: ColdStart, sources: Sources, occupancy: Occupancy): Promise<void> {
  const { config: { dbPath }, log } = start;
  const { store } = sources;
  const candidates = await patiently(start, sources, () => listCandidates(store, start.stop));
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
      await take(start, sources, candidate);
      return;
    } catch (error) {
      start.stop.throwIfAborted();
      if (!(error instanceof MarmotError) || error.code !== "snapshot") throw error;
      reasons.push(`${candidate.name}: ${error.message}`);
      log.warn("this snapshot cannot be used", { snapshot: candidate.name, reason: error.message });
    }
  }
  throw new MarmotError(
    "snapshot",
    `Cannot start without a database: no snapshot in ${store.location} can be used (${reasons.join("; ")})`,
    { hint: "Save a new one on a node that is up to date: marmot snapshot save." },
  );
}

async function take(start: ColdStart, sources: Sources, candidate: Candidate): Promise<void> {
  const { config, log, stop } = start;
  const states = await patiently(start, sources, () => statesOf(start, sources));
  const misfit = findMisfit(candidate, { names: streamNames(config), states });
  if (misfit !== undefined) throw new DamagedSnapshotError(misfit);
  const path = temporaryPath(config.dbPath);
  const startMs = systemClock.nowMs();
  try {
    log.info("taking a snapshot", describe(candidate));
    const onBytes = sayNowAndThen(log);
    await patiently(
      start,
      sources,
      () => fetchSnapshot(sources.store, candidate, { to: path, signal: stop, onBytes }),
    );
    arm(start, path);
    if (candidate.kind === "original") beginBehindOriginal(start, { path, candidate, states });
    await placeDatabase(path, config.dbPath);
    log.info("the snapshot is in place", {
      database: config.dbPath,
      milliseconds: systemClock.nowMs() - startMs,
    });
  } finally {
    removeTemporary(path);
  }
}

function streamNames(config: Config): string[] {
  return Array.from({ length: config.shards }, (_, i) => streamName(config, i + 1));
}

function statesOf({ config }: ColdStart, { connection }: Sources): Promise<Map<string, StreamAtRest>> {
  return readStreamStates(connection, streamNames(config));
}

/** Captures from the first moment that an application can see the file. */
function arm(start: ColdStart, path: string): void {
  withReplica(start, path, (replica) => void replica.arm());
}

/**
 * The original does not tell where its snapshot stands. Its rows come from before the upload, so all that the streams
 * still have is read on top of them.
 */
function beginBehindOriginal(
  start: ColdStart,
  { path, candidate, states }: {
    path: string;
    candidate: Candidate & { kind: "original" };
    states: ReadonlyMap<string, StreamAtRest>;
  },
): void {
  withReplica(start, path, ({ positions, connection }) =>
    connection.write(() => {
      for (const { name, createdAt, firstSequence, firstStoredAt } of states.values()) {
        if (firstSequence <= 1) continue;
        positions.set({ name, createdAt, cursor: firstSequence - 1, storedAt: "" });
        if (firstStoredAt !== undefined && firstStoredAt <= candidate.info.modifiedAt) continue;
        start.log.warn(
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

/** The file is not in its place yet: no node id goes on record. */
function withReplica({ log }: ColdStart, path: string, work: (replica: Replica) => void): void {
  const replica = Replica.open(path, {
    nodeId: 0n,
    isIdProvisional: true,
    makeNodeId: () => 0n,
    readSeqMap: () => new Map(),
    nowMs: () => systemClock.nowMs(),
    log: { ...log, info: log.debug },
  });
  try {
    work(replica);
  } finally {
    replica.close();
  }
}

/** Tries again what the network may have broken; for as long as NATS is away, without end. */
async function patiently<T>(
  { log, stop }: ColdStart,
  { connection }: Sources,
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
      const isAway = connection.session.aborted;
      const pauseMs = RETRY_MS[failures];
      if (!isAway && pauseMs === undefined) throw error;
      log.warn("cannot read from the snapshot store, trying again", { reason: errorText(error) });
      if (!isAway) failures++;
      await systemClock.sleep(pauseMs ?? SESSION_LOOK_MS, stop);
      while (connection.session.aborted && !stop.aborted) await systemClock.sleep(SESSION_LOOK_MS, stop);
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

function sayNowAndThen(log: Log): (bytes: number, total: number) => void {
  let saidAtMs = systemClock.nowMs();
  return (bytes, of) => {
    if (systemClock.nowMs() - saidAtMs < SAY_PROGRESS_MS) return;
    saidAtMs = systemClock.nowMs();
    log.info("taking the snapshot", { bytes, of });
  };
}
