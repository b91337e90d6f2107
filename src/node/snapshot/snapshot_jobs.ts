/** What is done to whole database files, each longer than the event loop may stand still: run in a Worker, or where nothing else waits. */
import { rmSync } from "node:fs";
import { openDatabase } from "../../db/open_database.ts";
import { assertSound, copyDatabase } from "../../db/snapshot/copy_database.ts";
import { type CopyFacts, findDamage } from "../../db/snapshot/copy_facts.ts";
import { stripCopy } from "../../db/snapshot/strip_copy.ts";
import { MarmotError } from "../../errors.ts";
import {
  DamagedSnapshotError,
  type DatabaseFacts,
  type PackedFacts,
  readFile,
  sumFile,
  unpackFile,
} from "../../snapshot/packed_file.ts";
import { Fnv1 } from "../../wire/fnv.ts";

export interface SnapshotJobs {
  /** Makes a stripped copy of a database; see copyDatabase. */
  copy(request: { from: string; to: string }): Promise<CopyFacts>;
  /** Checks such a copy, and measures it. Throws MarmotError "snapshot" for a damaged one. */
  inspect(request: { from: string; copy: string }): Promise<DatabaseFacts>;
  /** Decompresses an object and checks the database in it. Throws DamagedSnapshotError. */
  unpack(request: { from: string; to: string; facts: PackedFacts }): Promise<void>;
  /** Checks a database file that comes from elsewhere. Throws DamagedSnapshotError. */
  check(request: { path: string }): Promise<void>;
  /** Takes all of Marmot's out of a database file, and returns the tag by which the original knows it. */
  stripAll(request: { path: string }): Promise<{ tag: string }>;
}

export type JobName = keyof SnapshotJobs;
export type JobRequest<N extends JobName> = Parameters<SnapshotJobs[N]>[0];
export type JobResult<N extends JobName> = Awaited<ReturnType<SnapshotJobs[N]>>;

export const snapshotJobs: SnapshotJobs = {
  copy: ({ from, to }) => copyDatabase(from, to),
  inspect({ from, copy }) {
    assertSound(copy, from);
    return Promise.resolve(sumFile(copy));
  },
  unpack({ from, to, facts }) {
    unpackFile({ from, to, facts });
    try {
      checkFile(to);
    } catch (error) {
      rmSync(to, { force: true });
      throw error;
    }
    return Promise.resolve();
  },
  check({ path }) {
    checkFile(path);
    return Promise.resolve();
  },
  async stripAll({ path }) {
    const connection = openDatabase(path);
    try {
      stripCopy(connection, "backup");
    } finally {
      connection.close();
    }
    const hash = new Fnv1();
    for await (const chunk of readFile(path)) hash.update(chunk);
    return { tag: hash.digest().toString(16).padStart(16, "0") };
  },
};

function checkFile(path: string): void {
  let damage: string | undefined;
  try {
    const connection = openDatabase(path);
    try {
      damage = findDamage(connection, "integrity_check");
    } finally {
      connection.close();
    }
  } catch (error) {
    if (!(error instanceof MarmotError)) throw error;
    damage = error.message;
  }
  if (damage !== undefined) throw new DamagedSnapshotError(`its database is damaged: ${damage}`);
}
