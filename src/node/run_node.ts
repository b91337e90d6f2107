/**
 * The composition root of a real node: each part made in order, with the line why it comes there.
 */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename } from "node:path";
import project from "../../deno.json" with { type: "json" };
import type { Config } from "../config/config.ts";
import { Replica } from "../db/replica.ts";
import { DatabaseBusyError, errorText, MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { systemClock } from "../runtime/clock.ts";
import { connect, type Connection } from "../stream/connection.ts";
import { KvNodeClaims } from "../stream/kv_node_claims.ts";
import { shardOfStream } from "../stream/names.ts";
import type { JetStreamChangeStreams } from "../stream/jetstream_change_streams.ts";
import { openChangeStreams } from "../stream/open_change_streams.ts";
import { askForPromises } from "../stream/stream_promises.ts";
import type { NodeId } from "../wire/batch.ts";
import { decodeSeqMap } from "../wire/seq_map.ts";
import { Armer } from "./armer.ts";
import { BrokerPromises } from "./broker_promises.ts";
import { ClaimKeeper } from "./claim_keeper.ts";
import { decideOnRival, rivalError, type Self } from "./claim_policy.ts";
import { describeMachine } from "./machine.ts";
import { Node } from "./node.ts";
import { reportProgress } from "./progress.ts";
import { sayWhenReady } from "./readiness.ts";
import { automaticSaves } from "./snapshot/node_saves.ts";
import { startCold } from "./snapshot/cold_start.ts";
import { SnapshotGate } from "./snapshot/snapshot_gate.ts";
import { savedSnapshots } from "./snapshot/saved_snapshots.ts";
import { openStore } from "./snapshot/store_access.ts";
import { removeAbandoned } from "./snapshot/temporary_files.ts";
import { writeSeqMap } from "./seq_map_file.ts";
import { VerifyService } from "./verify/verify_service.ts";
import { WalWatch } from "./wal_watch.ts";

const BUSY_SLEEP_MS = 20;
const SAY_BUSY_AFTER_MS = 2000;

/** Runs a node until `stop` aborts. Throws MarmotError where it cannot start or go on. */
export async function runNode(config: Config, log: Log, stop: AbortSignal): Promise<void> {
  // Before anything is written beside the database: what a crash has left there takes room.
  const abandoned = removeAbandoned(config.dbPath);
  if (abandoned > 0) {
    log.info("removed what an unfinished snapshot had left beside the database", { files: abandoned });
  }
  if (config.enableSnapshot) await startCold(config, log, stop);
  let nodeId = config.nodeId;
  // Again only where the id turns out to be another node's, and may be changed.
  while (await runAs(nodeId, { config, log, stop }) === "needs-new-id") nodeId = makeNodeId();
}

interface Run {
  readonly config: Config;
  readonly log: Log;
  readonly stop: AbortSignal;
}

/** One life under one id; without an id, under the one that the database has. */
async function runAs(givenId: NodeId | undefined, run: Run): Promise<"done" | "needs-new-id"> {
  const { config, log, stop } = run;
  // The database first: what is wrong with it is the operator's most likely mistake, and needs no network.
  const replica = await whenUnlocked(() => openReplica(givenId, run), run);
  if (!replica) return "done";
  try {
    const { nodeId } = replica;
    log.info("node started", {
      node: nodeId,
      database: config.dbPath,
      shards: config.shards,
      format: config.wireFormat,
    });
    // Then capture, which must not wait: what the application writes before the broker is there counts as well.
    const armer = new Armer({ replica, clock: systemClock, random: Math.random, log });
    await armer.look(stop);
    // Then the broker: a node may start long before that does.
    const ports = { clock: systemClock, random: Math.random, log };
    const { natsUrls: urls, streamPrefix, logReplicas: replicas } = config;
    const connection = await whileArmed(
      armer,
      () => connect({ urls, nodeId, log, signal: stop, random: Math.random }),
    );
    try {
      // The id before the streams: what another node holds must not be published under, nor read as one's own.
      const claims = new KvNodeClaims({ connection, streamPrefix, replicas, log });
      const self = describeSelf(replica);
      const cursors = () => cursorsOf(replica);
      const keeper = new ClaimKeeper({ claims, nodeId, self, cursors, ...ports });
      const rival = await whileArmed(armer, () => keeper.take(stop));
      if (rival) {
        if (decideOnRival(rival.claim, self, config.nodeId !== undefined) === "refuse") {
          throw rivalError(rival, { self, isLost: false });
        }
        const { host, path, since } = rival.claim;
        log.warn("the database file is a copy of a node that is alive: this node takes an id of its own", {
          idInCopy: nodeId,
          host,
          path,
          since,
        });
        return "needs-new-id";
      }
      await keeper.keep(
        stop,
        (signal) => replicate({ ...run, stop: signal }, { replica, armer, connection, claims }),
      );
    } finally {
      await connection.close();
    }
  } finally {
    replica.close();
    log.info("node stopped", { node: replica.nodeId });
  }
  return "done";
}

interface RunParts {
  readonly replica: Replica;
  readonly armer: Armer;
  readonly connection: Connection;
  readonly claims: KvNodeClaims;
}

/** Replicates until `stop` aborts, under an id that is ours. */
async function replicate(run: Run, { replica, armer, connection, claims }: RunParts): Promise<void> {
  const { config, log, stop } = run;
  await whileArmed(armer, () => whenUnlocked(() => replica.keepNodeId(), run));
  const streams = await whileArmed(armer, () =>
    openChangeStreams({
      connection,
      urls: config.natsUrls,
      nodeId: replica.nodeId,
      streamPrefix: config.streamPrefix,
      subjectPrefix: config.subjectPrefix,
      shards: config.shards,
      replicas: config.logReplicas,
      maxLogEntries: config.maxLogEntries,
      compress: config.compress,
      wireFormat: config.wireFormat,
      log,
      signal: stop,
      random: Math.random,
    }));
  const ports = { clock: systemClock, random: Math.random, streams, log };
  const gate = config.enableSnapshot ? new SnapshotGate(ports) : undefined;
  const store = gate && await openStore(config, () => Promise.resolve(connection));
  const node = new Node(replica, ports, {
    armer,
    commitHints: new WalWatch(realpathSync(replica.connection.path)),
    wireFormat: config.wireFormat,
    compress: config.compress,
    ...(gate === undefined ? {} : { gate }),
    ...(store === undefined ? {} : { snapshots: savedSnapshots({ store, dbPath: config.dbPath }) }),
  });
  const naming = {
    streamPrefix: config.streamPrefix,
    subjectPrefix: config.subjectPrefix,
    compress: config.compress,
  };
  const promises = new BrokerPromises({
    ...ports,
    nodeId: replica.nodeId,
    hasSnapshots: config.enableSnapshot,
    streams: () => askForPromises({ connection, naming, shards: config.shards }),
    claims: () => claims.all(),
    leaseMs: () => claims.leaseMs(),
    storedAtMs: async (stream, sequence) => {
      const message = await streams.messageAt(shardOfStream(naming, stream) ?? 0, sequence);
      return message && Date.parse(message.storedAt);
    },
  });
  const beside = new AbortController();
  const ready = sayWhenReady(node, { ...ports, signal: beside.signal });
  const tasks = [
    ready,
    reportProgress(node, { replica, log, clock: systemClock, signal: beside.signal }),
    writeSeqMap(config.seqMapPath, {
      positions: replica.positions,
      log,
      clock: systemClock,
      signal: beside.signal,
    }),
    promises.run(beside.signal),
    ...answerVerify(node, { replica, streams, log, signal: beside.signal }),
  ];
  if (gate && store) {
    const saves = automaticSaves(node, { config, replica, connection, store, leases: claims, gate, log });
    tasks.push(ready.then(() => saves.run(beside.signal)));
  }
  try {
    await node.run(stop);
  } finally {
    beside.abort();
    await Promise.all(tasks);
    await store?.close();
    await streams.close();
  }
}

/** Lets `marmot verify` compare this node with the others. */
function answerVerify(
  node: Node,
  { replica, streams, log, signal }: {
    replica: Replica;
    streams: JetStreamChangeStreams;
    log: Log;
    signal: AbortSignal;
  },
): Promise<void>[] {
  const { nodeId } = replica;
  const service = new VerifyService({
    nodeId,
    dbPath: replica.connection.path,
    barrier: node.applyBarrier,
    cursors: () => node.cursors(),
    isPaused: () => replica.pausedSinceMs() !== undefined,
    clock: systemClock,
    log,
  });
  const answering = streams.answerQuestions({ nodeId, answer: service.answer, signal }).catch((error) => {
    log.warn("marmot verify cannot ask this node, replication goes on", { reason: errorText(error) });
  });
  return [service.run(signal), answering];
}

/** Keeps the tables armed while `work` waits for something else. */
async function whileArmed<T>(armer: Armer, work: () => Promise<T>): Promise<T> {
  const done = new AbortController();
  const failed = Promise.withResolvers<never>();
  const watching = armer.watch(done.signal).catch((error) => failed.reject(error));
  try {
    return await Promise.race([work(), failed.promise]);
  } finally {
    done.abort();
    await watching;
  }
}

/** Does what may find the database locked, and waits until it is not; undefined when the node is stopped meanwhile. */
async function whenUnlocked<T>(work: () => T, { config, log, stop }: Run): Promise<T | undefined> {
  for (let waitedMs = 0; !stop.aborted; waitedMs += BUSY_SLEEP_MS) {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof DatabaseBusyError)) throw error;
      if (waitedMs === SAY_BUSY_AFTER_MS) {
        log.warn("the database is locked, waiting", { path: basename(config.dbPath) });
      }
      await systemClock.sleep(BUSY_SLEEP_MS, stop);
    }
  }
  return undefined;
}

function openReplica(nodeId: NodeId | undefined, { config, log }: Run): Replica {
  return Replica.open(config.dbPath, {
    nodeId,
    isIdProvisional: true,
    makeNodeId,
    readSeqMap: () => readSeqMap(config.seqMapPath),
    nowMs: () => systemClock.nowMs(),
    log,
    hasImages: config.wireFormat === "batch",
    maxImageDeletes: config.maxImageDeletes,
    retention: { milliseconds: config.keepMinutes * 60_000, entries: config.keepEntries },
  });
}

function describeSelf(replica: Replica): Self {
  const path = realpathSync(replica.connection.path);
  return { machine: describeMachine(), path, file: replica.fileIdentity, version: project.version };
}

function cursorsOf(replica: Replica): Record<string, number> {
  return Object.fromEntries(replica.positions.all().map(({ name, cursor }) => [name, cursor]));
}

/** A node id drawn at random: 63 bits, so that signed tools show it as it is. */
function makeNodeId(): NodeId {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (BigInt(high & 0x7fffffff) << 32n) | BigInt(low);
}

function readSeqMap(path: string): ReadonlyMap<string, number> {
  if (!existsSync(path)) return new Map();
  try {
    return decodeSeqMap(readFileSync(path));
  } catch (error) {
    throw new MarmotError("wire", `Cannot read the seq-map file "${path}": ${errorText(error)}`, {
      hint: "Remove the file to read the streams from their first message.",
      cause: error,
    });
  }
}
