/** Takes a snapshot from a store to a file beside the database, and checks it on the way: size, sum, content, pages. */
import { renameSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { MarmotError } from "../../errors.ts";
import { DamagedSnapshotError, writeFile } from "../../snapshot/packed_file.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import type { OnBytes } from "./byte_reports.ts";
import type { Candidate } from "./candidates.ts";
import { diskError } from "./disk_errors.ts";
import { removeTemporary, temporaryPath } from "./temporary_files.ts";
import { doInWorker, type DoJob } from "./worker_jobs.ts";

export interface FetchOptions {
  /** Where the database of the snapshot goes: a path where nothing is. */
  readonly to: string;
  readonly signal: AbortSignal;
  /** Told how many bytes of how many have come. */
  readonly onBytes?: OnBytes;
  /** Does what takes long; in a Worker unless told. */
  readonly doJob?: DoJob;
}

/**
 * Throws DamagedSnapshotError where the object is not what the manifest says, or is gone; MarmotError "snapshot" where the
 * store fails and "database" where the disk does. Nothing is left at `to` then.
 */
export async function fetchSnapshot(
  store: SnapshotStore,
  candidate: Candidate,
  { to, signal, onBytes = () => {}, doJob = doInWorker }: FetchOptions,
): Promise<void> {
  const packed = temporaryPath(to);
  try {
    await download(store, candidate, { to: packed, signal, onBytes });
    if (candidate.kind === "own") {
      await doJob("unpack", { from: packed, to, facts: candidate.entry }, signal);
    } else {
      await doJob("check", { path: packed }, signal);
      renameSync(packed, to);
    }
  } catch (error) {
    removeTemporary(to);
    throw diskError((error as NodeJS.ErrnoException).code) ?? error;
  } finally {
    removeTemporary(packed);
  }
}

async function download(
  store: SnapshotStore,
  candidate: Candidate,
  { to, signal, onBytes }: Required<Omit<FetchOptions, "doJob">>,
): Promise<void> {
  const object = await store.get(candidate.name, { signal });
  if (object === undefined) throw new DamagedSnapshotError("its object is not there");
  const { sizeBytes } = object.info;
  if (candidate.kind === "own" && sizeBytes !== candidate.entry.objectBytes) {
    await object.content.cancel();
    throw new DamagedSnapshotError(`its object has ${sizeBytes} bytes, not ${candidate.entry.objectBytes}`);
  }
  await assertRoom(to, sizeBytes + (candidate.kind === "own" ? candidate.entry.databaseBytes : 0));
  const { bytes, sha256 } = await writeFile(to, object.content, {
    onBytes: (done) => onBytes(done, sizeBytes),
    maxBytes: sizeBytes,
  });
  const isWhole = bytes === sizeBytes &&
    (candidate.kind === "original" || sha256 === candidate.entry.objectSha256);
  if (!isWhole) throw new DamagedSnapshotError("its object is not the one that was saved: the sums differ");
}

async function assertRoom(path: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  if (bavail * bsize >= neededBytes) return;
  throw new MarmotError(
    "database",
    `Cannot take the snapshot: it needs ${neededBytes} bytes in "${dirname(path)}", ${
      bavail * bsize
    } are free`,
    { hint: "Make room on the disk of the database." },
  );
}
