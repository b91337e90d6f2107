/**
 * What `marmot -version` prints. An executable carries the commit that it was made from in a file that
 * scripts/compile.ts embeds; a run from source asks git.
 */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import project from "../../deno.json" with { type: "json" };
import { Connection } from "../db/connection.ts";

/** Where scripts/compile.ts puts the commit: a file of one line, seen from this file. */
const EMBEDDED_COMMIT_FILE = "../../.cache/compile/commit.txt";

export const MARMOT_VERSION: string = project.version;

/** Five lines, each a name and a value, ended by a line break. */
export function versionText(): string {
  return [
    `marmot ${MARMOT_VERSION}`,
    `commit ${Deno.build.standalone ? readEmbeddedCommit() : `${askGitForCommit()} (run from source)`}`,
    `deno   ${Deno.version.deno}`,
    `sqlite ${readSqliteVersion()}`,
    `target ${Deno.build.target}`,
    "",
  ].join("\n");
}

function readEmbeddedCommit(): string {
  return readFileSync(new URL(EMBEDDED_COMMIT_FILE, import.meta.url), "utf8").trim();
}

/** Git is asked for this checkout only, never for a repository that happens to lie around it. */
function askGitForCommit(): string {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  try {
    const describe = ["--git-dir", `${root}.git`, "--work-tree", root, "describe", "--always", "--dirty"];
    return execFileSync("git", [...describe, "--exclude=*", "--abbrev=12"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return "unknown";
  }
}

/** `process.versions.sqlite` names another version than the one that is linked in, so SQLite is asked. */
function readSqliteVersion(): string {
  const database = new Connection(":memory:");
  try {
    return String(database.prepare("SELECT sqlite_version()").get()?.[0]);
  } finally {
    database.close();
  }
}
