/** Which snapshot `marmot resync` has the node take over, and for which streams. */

import { shardOf } from "../db/operator/resync.ts";
import type { StreamOnRecord } from "../db/operator/stream_list.ts";
import { errorText, MarmotError } from "../errors.ts";
import { type Candidate, judgeFit, listCandidates, readFacts } from "../node/snapshot/candidates.ts";
import { NO_PLACES } from "../node/snapshot/original_snapshot.ts";
import { type StoreAccessOptions, withStore } from "../node/snapshot/store_access.ts";
import { timeText } from "./value_text.ts";

const OTHER_WAYS =
  "Save a snapshot on a node that is up to date (marmot snapshot save), or take another -from: first or now.";

export interface NewestSnapshot {
  /** Its object; undefined where the store could not be looked at. */
  readonly object: string | undefined;
  /** The streams for which it is to be taken over. */
  readonly streams: readonly string[];
  /** What to say of it. */
  readonly lines: readonly string[];
}

export interface SnapshotWanted extends Omit<StoreAccessOptions, "logReplicas"> {
  /** Of which streams; undefined: all. */
  readonly shards: readonly number[] | undefined;
  readonly onRecord: readonly StreamOnRecord[];
  readonly stop: AbortSignal;
}

/** Looks for the newest snapshot. Throws MarmotError where there is none, or it does not tell of these streams. */
export async function findNewest({ shards, onRecord, ...options }: SnapshotWanted): Promise<NewestSnapshot> {
  const { streamPrefix, stop } = options;
  const isWanted = (name: string) =>
    name.startsWith(`${streamPrefix}-`) && (shards === undefined || shards.includes(shardOf(name)));
  const known = onRecord.map(({ name }) => name).filter(isWanted);
  const newest = await look(options, stop);
  if (newest instanceof MarmotError) {
    if (known.length === 0) throw newest;
    const lines = [`Which snapshot that is can't be seen from here: ${errorText(newest)}`];
    return { object: undefined, streams: known, lines };
  }
  if (newest.kind === "original") throw refusal(newest, NO_PLACES);
  const { nodeId, createdAtMs } = newest.entry;
  const facts = readFacts(newest.entry);
  if ("unusable" in facts) throw refusal(newest, facts.unusable);
  const covered = facts.positions.filter(({ name }) => isWanted(name));
  const streams = [...new Set([...covered.map(({ name }) => name), ...shards === undefined ? known : []])];
  const missing = shards?.find((shard) => !streams.some((name) => shardOf(name) === shard));
  if (streams.length === 0 || missing !== undefined) {
    const untold = missing === undefined ? `streams "${streamPrefix}-…"` : `stream ${missing}`;
    throw refusal(
      newest,
      `it tells nothing of ${untold}`,
      "Check -stream and -stream-prefix, or take another -from.",
    );
  }
  const misfit = judgeFit(facts, { names: streams, states: new Map() });
  if (misfit !== undefined) throw refusal(newest, misfit);
  return {
    object: newest.name,
    streams,
    lines: [
      `The snapshot: ${newest.name}, of node ${nodeId}, ${timeText(createdAtMs)}`,
      ...covered.map(({ name, cursor }) => `${name}: the snapshot holds it up to ${cursor}`),
    ],
  };
}

function refusal({ name }: Candidate, reason: string, hint = OTHER_WAYS): MarmotError {
  return new MarmotError("snapshot", `Cannot take over snapshot "${name}": ${reason}`, { hint });
}

/** The newest snapshot; an error where the store can't be looked at. Throws where it has none. */
async function look(
  options: Omit<StoreAccessOptions, "logReplicas">,
  stop: AbortSignal,
): Promise<Candidate | MarmotError> {
  const find = withStore({ ...options, logReplicas: 1, stop }, async (store) => {
    const [newest] = await listCandidates(store, stop);
    return newest ?? store.location;
  });
  const found = await find.catch((error) => {
    if (error instanceof MarmotError) return error;
    throw error;
  });
  if (typeof found !== "string") return found;
  throw new MarmotError("snapshot", `Cannot resync from a snapshot: there is none in ${found}`, {
    hint:
      "Check -snapshot-url and -stream-prefix, save one on another node with marmot snapshot save, or take another -from.",
  });
}
