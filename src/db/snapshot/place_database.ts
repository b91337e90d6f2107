/**
 * Puts a finished database in the place of one that does not exist, or is empty. In one step, so that whoever looks
 * meets nothing or all of it; and never by replacing a file that an application may hold open.
 */
import { existsSync, linkSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errorText, MarmotError } from "../../errors.ts";
import { syncFolder } from "../../runtime/atomic_file.ts";
import { openDatabase, openDatabaseReadOnly } from "../open_database.ts";

const BUSY_TIMEOUT_MS = 5000;

/** "empty": a database without any table, such as the file that an application has just made. */
export type Occupancy = "absent" | "empty" | "occupied";

/** What stands at the path. Throws MarmotError for what is no database. */
export function lookAtDatabase(path: string): Occupancy {
  if (!existsSync(path)) return "absent";
  const connection = openDatabaseReadOnly(path, BUSY_TIMEOUT_MS);
  try {
    return connection.integer("SELECT count(*) FROM main.sqlite_schema") === 0 ? "empty" : "occupied";
  } finally {
    connection.close();
  }
}

/**
 * Moves the database at `from`, which nobody has open, to `to`. Throws MarmotError where a database with tables stands
 * there by now; `from` is gone in any case but that of an error.
 */
export async function placeDatabase(from: string, to: string): Promise<void> {
  switch (lookAtDatabase(to)) {
    case "absent":
      if (linkNew(from, to)) await syncFolder(dirname(to));
      else await placeDatabase(from, to);
      break;
    case "empty":
      await fillEmpty(from, to);
      break;
    case "occupied":
      throw new MarmotError(
        "database",
        `Cannot put a snapshot in the place of "${to}": there are tables by now`,
      );
  }
  rmSync(from, { force: true });
}

/** Gives the file its name unless something has that name; false then. */
function linkNew(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EEXIST") return false;
    // A file system without hard links.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP" && code !== "ENOSYS") {
      throw new MarmotError("database", `Cannot make the database "${to}": ${errorText(error)}`, {
        cause: error,
      });
    }
    renameSync(from, to);
    return true;
  }
}

/** Writes into the file, so that an application that has it open sees the tables appear. */
async function fillEmpty(from: string, to: string): Promise<void> {
  if (statSync(to).size > 0) assertPageSize(from, to);
  const source = openDatabase(from, BUSY_TIMEOUT_MS);
  try {
    await source.backUpTo(to);
  } finally {
    source.close();
  }
}

/** SQLite copies into a database in WAL mode only where the pages have one size. Source: sqlite3_backup_step. */
function assertPageSize(from: string, to: string): void {
  const [source, target] = [openDatabase(from, BUSY_TIMEOUT_MS), openDatabase(to, BUSY_TIMEOUT_MS)];
  try {
    const [wanted, found] = [source.integer("PRAGMA page_size"), target.integer("PRAGMA page_size")];
    if (wanted === found) return;
    throw new MarmotError(
      "database",
      `Cannot put a snapshot into the empty database "${to}": its pages have ${found} bytes, the snapshot's ${wanted}`,
      { hint: "Close it in the application, remove the file and start Marmot again." },
    );
  } finally {
    source.close();
    target.close();
  }
}
