/**
 * When a node saves a snapshot by itself. A pure table: what is known of the streams and of the newest snapshot, to the
 * reason for saving one now.
 *
 *   none exists yet, or publishing waits for one (snapshot_gate.ts)   at once
 *   those that exist are of other streams (candidates.ts)            after the minimum interval
 *   a shard's stream is half way to trimming what is not covered     as soon as the last save is a while ago
 *   shard 1 has passed a multiple of max-log-entries / shards        after the minimum interval
 */

/** Between two saves for the multiple's sake, by any node, or by clusters that share a store. */
export const MIN_INTERVAL_MS = 60_000;
/** Between two saves where streams run on fast: this share of the time at most goes into saving. */
export const MAX_SAVING_SHARE = 0.2;
/** Where the last save took no time to speak of. */
export const MIN_URGENT_INTERVAL_MS = 5_000;

export interface ShardCoverage {
  /** Highest sequence in the stream. */
  readonly lastSequence: number;
  /** Messages that the stream keeps; Infinity without a limit. */
  readonly maxMessages: number;
  /** Sequence up to which the newest snapshot has the stream; 0 where it has nothing of it. */
  readonly covered: number;
}

export interface SaveSituation {
  readonly hasSnapshot: boolean;
  /** Whether one of them is of the streams that are there now: a node without a database takes no other. */
  readonly isOfStreams: boolean;
  /** Whether this node's publishing waits for a snapshot. */
  readonly isWaitedFor: boolean;
  /** Since the newest snapshot came to be known or was saved here; Infinity if none was. */
  readonly sinceSavedMs: number;
  /** How long the last save of this process took; 0 before the first. */
  readonly lastSaveTookMs: number;
  /** Shard 1 first. */
  readonly shards: readonly ShardCoverage[];
  /** max-log-entries / shards, as the original documents. */
  readonly everyMessages: number;
}

export type SaveReason =
  | "there is none"
  | "there is none of these streams"
  | "publishing waits for it"
  | "a stream is half way to trimming"
  | "shard 1 has gone on";

/** Why a snapshot is due now; undefined where none is. */
export function decideOnSave(situation: SaveSituation): SaveReason | undefined {
  const { hasSnapshot, isOfStreams, isWaitedFor, sinceSavedMs, lastSaveTookMs, shards, everyMessages } =
    situation;
  if (!hasSnapshot) return "there is none";
  if (isWaitedFor) return "publishing waits for it";
  const urgentMs = Math.max(MIN_URGENT_INTERVAL_MS, lastSaveTookMs / MAX_SAVING_SHARE);
  if (sinceSavedMs >= urgentMs && shards.some(isHalfWay)) return "a stream is half way to trimming";
  const first = shards[0];
  if (sinceSavedMs < MIN_INTERVAL_MS || first === undefined) return undefined;
  if (!isOfStreams) return "there is none of these streams";
  const passed = (sequence: number) => Math.floor(sequence / Math.max(1, Math.floor(everyMessages)));
  return passed(first.lastSequence) > passed(first.covered) ? "shard 1 has gone on" : undefined;
}

/** How many messages may still come before the stream drops one that the snapshot does not cover. */
export function roomBeforeTrim({ lastSequence, maxMessages, covered }: ShardCoverage): number {
  return maxMessages - (lastSequence - covered);
}

function isHalfWay({ lastSequence, covered, maxMessages }: ShardCoverage): boolean {
  return lastSequence - covered >= maxMessages / 2;
}
