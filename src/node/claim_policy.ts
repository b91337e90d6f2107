/** What another process's claim to our node id means, and the sentence for the operator. */
import { basename } from "node:path";
import { MarmotError } from "../errors.ts";
import type { HeldClaim, NodeClaim } from "../stream/node_claims.ts";
import type { Machine } from "./machine.ts";

/** What this process claims for. */
export interface Self {
  readonly machine: Machine;
  /** Absolute path of the database file. */
  readonly path: string;
  /** Identity of the file on its machine; '' where the file system does not tell. */
  readonly file: string;
  readonly version: string;
}

/** Whether the claim is of this very database file, on this boot of this machine. */
export function isOfSameFile(claim: NodeClaim, { machine, path, file }: Self): boolean {
  return claim.machine === machine.identity && claim.path === path && claim.file === file;
}

/**
 * What a node does whose id is held by a process that is alive. "refuse": an id by flag is the operator's word, and
 * a file that is replicated already needs no second node. "new-id": the file is a copy.
 */
export function decideOnRival(claim: NodeClaim, self: Self, isIdGiven: boolean): "refuse" | "new-id" {
  return isIdGiven || isOfSameFile(claim, self) ? "refuse" : "new-id";
}

/** The error that names who holds the id; `isLost` where it was ours before. */
export function rivalError(
  { nodeId, claim }: HeldClaim,
  { self, isLost }: { self: Self; isLost: boolean },
): MarmotError {
  const { host, path, pid, since } = claim;
  if (!isLost && isOfSameFile(claim, self)) {
    return new MarmotError(
      "identity",
      `Cannot replicate the database "${basename(path)}": process ${pid} does so already, since ${since}`,
      { hint: `Stop process ${pid} first: a database has one Marmot.` },
    );
  }
  const action = isLost ? "go on" : "start";
  const database = path === "" ? "" : ` with the database "${basename(path)}" (${path})`;
  return new MarmotError(
    "identity",
    `Cannot ${action} as node ${nodeId}: the id is held by process ${pid} on host "${host}"${database}, since ${since}`,
    { hint: "Give each node an id of its own with -node-id, or stop the other one." },
  );
}
