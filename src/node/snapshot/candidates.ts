/** Which snapshots a store offers, and which of them can be used with the streams as they are. */
import { STATE_VERSION } from "../../db/state/state_tables.ts";
import type { StreamPosition } from "../../db/state/stream_positions.ts";
import type { SnapshotEntry } from "../../snapshot/manifest.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";
import { readManifest } from "../../snapshot/snapshot_catalog.ts";
import type { ObjectInfo, SnapshotStore } from "../../snapshot/snapshot_store.ts";
import type { StreamState } from "../../stream/change_streams.ts";
import { ORIGINAL_NAME } from "./original_snapshot.ts";
import { decodeHeaders, decodeStateVersion, type SnapshotFacts } from "./snapshot_headers.ts";

/** "own": of the manifest. "original": the one object of a cluster that Marmot has not saved into yet. */
export type Candidate =
  | { readonly kind: "own"; readonly name: string; readonly entry: SnapshotEntry }
  | { readonly kind: "original"; readonly name: string; readonly info: ObjectInfo };

/** Newest first. The original's object counts only while there is no other: nothing tells how old it is. */
export async function listCandidates(store: SnapshotStore, signal: AbortSignal): Promise<Candidate[]> {
  const { snapshots } = await readManifest(store, { signal });
  if (snapshots.length > 0) return snapshots.map((entry) => ({ kind: "own", name: entry.object, entry }));
  const info = (await store.list({ signal })).find(({ name }) => name === ORIGINAL_NAME);
  return info === undefined ? [] : [{ kind: "original", name: ORIGINAL_NAME, info }];
}

/** Why a snapshot is of no use, whatever the streams are. */
export interface Unusable {
  readonly unusable: string;
}

/** What a snapshot tells of the streams, or why this release cannot use it. */
export function readFacts({ headers }: Pick<SnapshotEntry, "headers">): SnapshotFacts | Unusable {
  try {
    if (decodeStateVersion(headers) > Number(STATE_VERSION)) {
      return { unusable: "a newer Marmot has saved it: upgrade this node" };
    }
    return decodeHeaders(headers);
  } catch (error) {
    if (error instanceof DamagedSnapshotError) return { unusable: error.message };
    throw error;
  }
}

/** Why a node without a database cannot go on from this snapshot; undefined where it can. */
export function findMisfit(candidate: Candidate, streams: StreamsAtRest): string | undefined {
  if (candidate.kind === "original") return undefined;
  const facts = readFacts(candidate.entry);
  return "unusable" in facts ? facts.unusable : judgeFit(facts, streams);
}

export interface StreamsAtRest {
  /** Names of the streams of all shards. */
  readonly names: readonly string[];
  /** Those that exist. */
  readonly states: ReadonlyMap<string, StreamState>;
}

export function judgeFit(
  { positions }: Pick<SnapshotFacts, "positions">,
  { names, states }: StreamsAtRest,
): string | undefined {
  const known = new Map(positions.map((position) => [position.name, position]));
  if (positions.length > 0 && !names.some((name) => known.has(name))) {
    return `it is of other streams ("${positions[0]?.name}"), not of "${names[0]}"`;
  }
  const stranger = findStranger(positions, { names, states });
  if (stranger !== undefined) {
    const { name, createdAt } = stranger;
    return "it is of another cluster, or the streams were made anew since it was saved: " +
      `it tells of a stream "${name}" made at ${createdAt}, the one here was made at ${
        states.get(name)?.createdAt
      }`;
  }
  for (const name of names) {
    const state = states.get(name);
    const { cursor, createdAt } = known.get(name) ?? { cursor: 0, createdAt: "" };
    // Others are the same as ever: what this one holds comes on top of what is in the snapshot.
    if (state === undefined || (createdAt !== "" && createdAt !== state.createdAt)) continue;
    if (state.firstSequence <= cursor + 1) continue;
    return `it is too old: it ends at ${cursor} of stream "${name}", which begins at ${state.firstSequence} by now`;
  }
  return undefined;
}

/**
 * A stream that shows that a snapshot is of another cluster, or of before all streams were made anew: none that it tells of
 * is the one of that name here, and there are messages by now, which come on top of other rows than the snapshot's. Streams
 * without any show nothing: that is how they are where everything but the snapshots was lost.
 */
export function findStranger(
  positions: readonly StreamPosition[],
  { names, states }: StreamsAtRest,
): StreamPosition | undefined {
  if (!names.some((name) => (states.get(name)?.lastSequence ?? 0) > 0)) return undefined;
  const told = positions.filter(({ name, createdAt }) =>
    createdAt !== "" && names.includes(name) && states.has(name)
  );
  const isSame = ({ name, createdAt }: StreamPosition) => states.get(name)?.createdAt === createdAt;
  return told.some(isSame) ? undefined : told[0];
}
