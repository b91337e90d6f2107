/**
 * The composition root of a real node: each part made in order, with the line why it comes there.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import type { Config } from "../config/config.ts";
import { Replica } from "../db/replica.ts";
import { DatabaseBusyError, errorText, MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { systemClock } from "../runtime/clock.ts";
import { openChangeStreams } from "../stream/open_change_streams.ts";
import type { NodeId } from "../wire/batch.ts";
import { decodeSeqMap } from "../wire/seq_map.ts";
import { Armer } from "./armer.ts";
import { Node } from "./node.ts";
import { reportProgress } from "./progress.ts";
import { writeSeqMap } from "./seq_map_file.ts";

const BUSY_SLEEP_MS = 20;
const SAY_BUSY_AFTER_MS = 2000;

/** Runs a node until `stop` aborts. Throws MarmotError where it cannot start or go on. */
export async function runNode(config: Config, log: Log, stop: AbortSignal): Promise<void> {
  // The database first: what is wrong with it is the operator's most likely mistake, and needs no network.
  const replica = await openReplica(config, log, stop);
  if (!replica) return;
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
    // Then the streams: a node may start long before its broker does.
    const streams = await whileArmed(armer, () =>
      openChangeStreams({
        urls: config.natsUrls,
        nodeId,
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
    try {
      const ports = { clock: systemClock, random: Math.random, streams, log };
      const node = new Node(replica, ports, {
        armer,
        wireFormat: config.wireFormat,
        compress: config.compress,
      });
      const beside = new AbortController();
      const tasks = [
        reportProgress(node, { replica, log, clock: systemClock, signal: beside.signal }),
        writeSeqMap(config.seqMapPath, {
          positions: replica.positions,
          log,
          clock: systemClock,
          signal: beside.signal,
        }),
      ];
      try {
        await node.run(stop);
      } finally {
        beside.abort();
        await Promise.all(tasks);
      }
    } finally {
      await streams.close();
    }
  } finally {
    replica.close();
    log.info("node stopped");
  }
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

/** Opens the database, waiting for one that is locked; undefined when the node is stopped meanwhile. */
async function openReplica(config: Config, log: Log, stop: AbortSignal): Promise<Replica | undefined> {
  for (let waitedMs = 0; !stop.aborted; waitedMs += BUSY_SLEEP_MS) {
    try {
      return Replica.open(config.dbPath, {
        nodeId: config.nodeId,
        makeNodeId,
        readSeqMap: () => readSeqMap(config.seqMapPath),
        nowMs: () => systemClock.nowMs(),
        hasImages: config.wireFormat === "batch",
        maxImageDeletes: config.maxImageDeletes,
        log,
        retention: { milliseconds: config.keepMinutes * 60_000, entries: config.keepEntries },
      });
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
