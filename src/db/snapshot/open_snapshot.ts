/** A snapshot's file as a database that can be armed: no node id goes on record in it. */
import type { Log } from "../../observability/log.ts";
import { Replica } from "../replica.ts";

/** Opens the database of a snapshot that nobody else uses. What it would tell an operator is no news of this node's database. */
export function openSnapshot(path: string, { nowMs, log }: { nowMs: () => number; log: Log }): Replica {
  return Replica.open(path, {
    nodeId: 0n,
    isIdProvisional: true,
    makeNodeId: () => 0n,
    readSeqMap: () => new Map(),
    nowMs,
    log: { ...log, info: log.debug },
  });
}
