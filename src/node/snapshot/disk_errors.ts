/** What goes wrong with files beside the database, in one sentence. The fault is this machine's, not the store's. */
import { existsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { MarmotError } from "../../errors.ts";

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "its disk is full",
  EDQUOT: "its disk has no more room for this user",
  EACCES: "this user may not write there",
  EPERM: "this user may not write there",
  EROFS: "its disk is for reading alone",
  EIO: "its disk fails",
};

/** The error for what the operating system says to a file beside the database; undefined for anything else. */
export function diskError(code: string | undefined): MarmotError | undefined {
  const reason = code === undefined ? undefined : REASONS[code];
  return reason === undefined
    ? undefined
    : new MarmotError("database", `Cannot write beside the database: ${reason}`, {
      hint: "Snapshots are prepared beside the database: Marmot needs room, and the right to write there.",
    });
}

/** Throws MarmotError where the folder is not there into which a file goes: what cannot be done then, and the flag that names it. */
export function assertFolder(path: string, failure: string, flag: string): void {
  const folder = dirname(path);
  if (existsSync(folder) && statSync(folder).isDirectory()) return;
  throw new MarmotError("database", `${failure}: there is no folder "${folder}"`, {
    hint: `Make the folder, or check ${flag}.`,
  });
}
