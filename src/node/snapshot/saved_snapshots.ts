/** The snapshots of a store, for a node that has missed messages. The original's has no places in the streams: it is no help there. */
import { STATE_VERSION } from "../../db/state/state_tables.ts";
import { errorText, MarmotError } from "../../errors.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import { type Candidate, listCandidates } from "./candidates.ts";
import { fetchSnapshot } from "./fetch_snapshot.ts";
import type { SavedSnapshot, SavedSnapshots } from "./late_merge.ts";
import { decodeHeaders } from "./snapshot_headers.ts";
import { removeTemporary, temporaryPath } from "./temporary_files.ts";

/** What is fetched stands beside the database meanwhile. */
export function savedSnapshots(store: SnapshotStore, dbPath: string): SavedSnapshots {
  return {
    list: (signal) =>
      whileStoreWorks(signal, async () => {
        const candidates = await listCandidates(store, signal);
        return candidates.flatMap((candidate) => toSaved(candidate, { store, dbPath }));
      }),
  };
}

function toSaved(
  candidate: Candidate,
  { store, dbPath }: { store: SnapshotStore; dbPath: string },
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
      await whileStoreWorks(signal, () => fetchSnapshot(store, candidate, { to: path, signal }));
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
