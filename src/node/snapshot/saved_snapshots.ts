/** The snapshots of a store, for a node that has missed messages. The original's has no places in the streams: it is no help there. */
import { STATE_VERSION } from "../../db/state/state_tables.ts";
import { errorText, MarmotError } from "../../errors.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import { type Candidate, listCandidates } from "./candidates.ts";
import { fetchSnapshot } from "./fetch_snapshot.ts";
import type { SavedSnapshot, SavedSnapshots } from "./late_merge.ts";
import { decodeHeaders } from "./snapshot_headers.ts";
import { removeTemporary, temporaryPath } from "./temporary_files.ts";
import type { DoJob } from "./worker_jobs.ts";

export interface SavedSnapshotsParts {
  readonly store: SnapshotStore;
  /** What is fetched stands beside the database meanwhile. */
  readonly dbPath: string;
  /** Does what takes long; in a Worker unless told. */
  readonly doJob?: DoJob;
  /** Does what waits for files alone; at once unless told. */
  readonly onFiles?: <T>(work: () => Promise<T>) => Promise<T>;
}

export function savedSnapshots(parts: SavedSnapshotsParts): SavedSnapshots {
  return {
    list: (signal) =>
      whileStoreWorks(signal, async () => {
        const candidates = await listCandidates(parts.store, signal);
        return candidates.flatMap((candidate) => toSaved(candidate, parts));
      }),
  };
}

function toSaved(
  candidate: Candidate,
  { store, dbPath, doJob, onFiles = (work) => work() }: SavedSnapshotsParts,
): SavedSnapshot[] {
  if (candidate.kind === "original") return [];
  const { name, entry } = candidate;
  const { positions, stateVersion } = decodeHeaders(entry.headers);
  if (stateVersion > Number(STATE_VERSION)) return [];
  return [{
    name,
    savedBy: entry.nodeId,
    positions,
    async fetch(signal) {
      const path = temporaryPath(dbPath);
      await whileStoreWorks(
        signal,
        () => onFiles(() => fetchSnapshot(store, candidate, { to: path, signal, ...doJob ? { doJob } : {} })),
      );
      return path;
    },
    remove: removeTemporary,
  }];
}

/** What the network or another's server throws, as a sentence. */
async function whileStoreWorks<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof MarmotError) throw error;
    throw new MarmotError("snapshot", `Cannot read from the snapshot store: ${errorText(error)}`, {
      cause: error,
    });
  }
}
