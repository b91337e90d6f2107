/** Snapshots taken by hand: checked, or made a file that has nothing to do with replication. */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { placeDatabase } from "../../db/snapshot/place_database.ts";
import { MarmotError } from "../../errors.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import type { Candidate } from "./candidates.ts";
import { assertFolder } from "./disk_errors.ts";
import { type FetchOptions, fetchSnapshot } from "./fetch_snapshot.ts";
import { decodeHeaders } from "./snapshot_headers.ts";
import { removeAbandoned, removeTemporary, temporaryPath } from "./temporary_files.ts";
import { doInWorker } from "./worker_jobs.ts";

/** What is wrong with a snapshot; undefined for a sound one. Takes room for it in the folder of temporary files meanwhile. */
export async function verifyCandidate(
  store: SnapshotStore,
  candidate: Candidate,
  options: Omit<FetchOptions, "to">,
): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "marmot-snapshot-"));
  try {
    if (candidate.kind === "own") decodeHeaders(candidate.entry.headers);
    await fetchSnapshot(store, candidate, { ...options, to: join(folder, "snapshot.db") });
    return undefined;
  } catch (error) {
    if (error instanceof DamagedSnapshotError) return error.message;
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export interface Restored {
  readonly candidate: Candidate;
  /** Newer ones that are damaged. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[];
}

/** Makes the first sound one a file without anything of Marmot's. Throws MarmotError where none is, or the file exists. */
export async function restoreTo(
  store: SnapshotStore,
  candidates: readonly Candidate[],
  options: FetchOptions,
): Promise<Restored> {
  const { to, signal } = options;
  if (existsSync(to)) {
    throw new MarmotError("snapshot", `Cannot restore to "${to}": there is a file of that name`, {
      hint:
        "Name a file that does not exist; a node whose database is gone restores by itself when it starts.",
    });
  }
  assertFolder(to, `Cannot restore to "${to}"`, "-to");
  removeAbandoned(to);
  const refused: { name: string; reason: string }[] = [];
  for (const candidate of candidates) {
    const path = temporaryPath(to);
    try {
      await fetchSnapshot(store, candidate, { ...options, to: path });
      await doInWorker("stripAll", { path }, signal);
      await placeDatabase(path, to);
      return { candidate, refused };
    } catch (error) {
      if (!(error instanceof DamagedSnapshotError)) throw error;
      refused.push({ name: candidate.name, reason: error.message });
    } finally {
      removeTemporary(path);
    }
  }
  const reasons = refused.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
  throw new MarmotError(
    "snapshot",
    `Cannot restore to "${to}": no snapshot in ${store.location} is sound (${reasons})`,
  );
}
