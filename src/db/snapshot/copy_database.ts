/**
 * A consistent copy of a database that others write to, made into a snapshot. Reads the database, never writes to it;
 * takes as long as reading all of it does, and blocks the thread meanwhile: for a Worker.
 */
import { rmSync } from "node:fs";
import { MarmotError } from "../../errors.ts";
import { type Connection, DiskFullError, SqliteError } from "../connection.ts";
import { openDatabase, openDatabaseReadOnly } from "../open_database.ts";
import { readSchema } from "../schema/schema.ts";
import { hasStateTables } from "../state/state_tables.ts";
import { type CopyFacts, findDamage, findObstacle, readCopyFacts } from "./copy_facts.ts";
import { stripCopy } from "./strip_copy.ts";

/** How long it waits for a lock; in WAL mode readers meet one only while the file is opened or closed. */
const BUSY_TIMEOUT_MS = 5000;
/** For a table whose pages lie scattered, as they do where keys are random. */
const CACHE_KIB = 16_384;

/**
 * Makes `to`, which must not exist, a stripped copy of the database at `from`, to be checked before it counts (assertSound).
 * Throws MarmotError "snapshot" where the database cannot be a snapshot now, and leaves no file then.
 */
export async function copyDatabase(from: string, to: string): Promise<CopyFacts> {
  try {
    await copyAsItIs(from, to);
    const copy = openDatabase(to, BUSY_TIMEOUT_MS);
    try {
      const obstacle = findObstacle(copy);
      if (obstacle !== undefined) {
        throw new MarmotError("snapshot", `Cannot make a snapshot of "${from}" now: ${obstacle}`);
      }
      const facts = readCopyFacts(copy);
      stripCopy(copy, "snapshot");
      return facts;
    } finally {
      copy.close();
    }
  } catch (error) {
    rmSync(to, { force: true });
    if (error instanceof DiskFullError) {
      throw new MarmotError(
        "snapshot",
        `Cannot make a snapshot of "${from}": there is no room for the copy beside it`,
        { hint: "Make room on the disk of the database.", cause: error },
      );
    }
    if (!(error instanceof SqliteError)) throw error;
    throw new MarmotError("snapshot", `Cannot make a snapshot of "${from}": ${error.message}`, {
      cause: error,
    });
  }
}

/** Throws MarmotError "snapshot" where the copy that was made of the database at `from` is damaged. */
export function assertSound(copy: string, from: string): void {
  const connection = openDatabaseReadOnly(copy, BUSY_TIMEOUT_MS);
  try {
    const damage = findDamage(connection, "quick_check");
    if (damage === undefined) return;
    throw new MarmotError(
      "snapshot",
      `Cannot make a snapshot of "${from}": its copy is damaged: ${damage}`,
      { hint: "Check the database with PRAGMA integrity_check." },
    );
  } finally {
    connection.close();
  }
}

async function copyAsItIs(from: string, to: string): Promise<void> {
  const source = openDatabaseReadOnly(from, BUSY_TIMEOUT_MS);
  try {
    if (!hasStateTables(source)) {
      throw new MarmotError(
        "snapshot",
        `Cannot make a snapshot of "${from}": Marmot has not replicated it yet`,
        {
          hint: "Start Marmot on it first: a snapshot tells how far the streams were applied.",
        },
      );
    }
    if (!needsRowids(source)) {
      // Of the copy alone, which a crash makes worthless anyway. Source: sqlite3RunVacuum.
      source.exec(`PRAGMA synchronous = OFF; PRAGMA cache_size = -${CACHE_KIB}`);
      source.prepare("VACUUM INTO ?").run([to]);
      if (!holdsRowidKeys(to)) return;
      // Such a table came in this moment.
      rmSync(to, { force: true });
    }
    await source.backUpTo(to);
  } finally {
    source.close();
  }
}

/** VACUUM may number the rows anew of which the rowid is the key. Source: https://www.sqlite.org/lang_vacuum.html. */
function needsRowids(connection: Connection): boolean {
  return connection.read(() => readSchema(connection).tables.some(({ keyKind }) => keyKind === "rowid"));
}

function holdsRowidKeys(path: string): boolean {
  const connection = openDatabaseReadOnly(path, BUSY_TIMEOUT_MS);
  try {
    return needsRowids(connection);
  } finally {
    connection.close();
  }
}
