/** Files beside the database that are on their way to or from a store. A crash leaves them; the next process that works on this database removes them. */
import { readdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import process from "node:process";

/** What stands behind "<database>.marmot-": the process, and for a file on its way to another one of these, that one's name. */
const NAME = /^(\d+)-[0-9a-f]{12}\.tmp(\.marmot-\d+-[0-9a-f]{12}\.tmp)?(-wal|-shm|-journal)?$/;
const SIDE_FILES = ["", "-wal", "-shm", "-journal"];

/** A name for a file that does not exist yet, on the database's volume. */
export function temporaryPath(dbPath: string): string {
  const random = crypto.getRandomValues(new Uint8Array(6)).toHex();
  return `${dbPath}.marmot-${process.pid}-${random}.tmp`;
}

/** Removes the file and what SQLite keeps beside it. */
export function removeTemporary(path: string): void {
  for (const end of SIDE_FILES) rmSync(path + end, { force: true });
}

/** Removes what processes that are gone have left beside the database, and returns how many files those were. */
export function removeAbandoned(dbPath: string): number {
  const folder = dirname(dbPath);
  const prefix = `${basename(dbPath)}.marmot-`;
  let removed = 0;
  for (const name of namesIn(folder)) {
    if (!name.startsWith(prefix)) continue;
    const pid = NAME.exec(name.slice(prefix.length))?.[1];
    if (pid === undefined || isOtherAlive(Number(pid))) continue;
    rmSync(join(folder, name), { force: true });
    removed++;
  }
  return removed;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // Without the folder there is nothing to remove; whoever needs it says so.
    return [];
  }
}

/** Whether another process has this number: one that had ours is gone. */
function isOtherAlive(pid: number): boolean {
  if (pid === process.pid || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
