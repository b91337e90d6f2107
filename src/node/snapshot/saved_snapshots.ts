/** The snapshots of a store, for a node that has missed messages. */
import { errorText, MarmotError } from "../../errors.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import { type Candidate, listCandidates, readFacts } from "./candidates.ts";
import { fetchSnapshot } from "./fetch_snapshot.ts";
import type { SavedSnapshot, SavedSnapshots, UnusableSnapshot } from "./late_merge.ts";
import { NO_PLACES } from "./original_snapshot.ts";
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
        return candidates.map((candidate) => toSaved(candidate, parts));
      }),
  };
}

function toSaved(
  candidate: Candidate,
  { store, dbPath, doJob, onFiles = (work) => work() }: SavedSnapshotsParts,
): SavedSnapshot | UnusableSnapshot {
  const { name } = candidate;
  if (candidate.kind === "original") return { name, unusable: NO_PLACES };
  const facts = readFacts(candidate.entry);
  if ("unusable" in facts) return { name, ...facts };
  return {
    name,
    savedBy: candidate.entry.nodeId,
    positions: facts.positions,
    async fetch({ signal, onBytes }) {
      const path = temporaryPath(dbPath);
      const options = { to: path, signal, onBytes, ...doJob ? { doJob } : {} };
      await whileStoreWorks(
        signal,
        () => onFiles(() => fetchSnapshot(store, candidate, options)),
      );
      return path;
    },
    remove: removeTemporary,
  };
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
