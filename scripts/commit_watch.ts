/**
 * An application of its own process that commits a row every few milliseconds, as `synchronous = NORMAL` has it, and tells
 * how long its slowest commit took. This file is the process as well as what starts it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const PAUSE_MS = 3;

export interface Commits {
  readonly count: number;
  readonly longestMs: number;
}

/** A running application; it ends with the `await using` block that made it. */
export class CommitWatch implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #answers: Interface;

  /** `table` has an INTEGER PRIMARY KEY and nothing that must be given. */
  constructor(path: string, table: string) {
    const program = fileURLToPath(import.meta.url);
    this.#child = spawn(Deno.execPath(), [
      "run",
      "--quiet",
      "--no-check",
      "--allow-all",
      program,
      path,
      table,
    ], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#answers = createInterface({ input: this.#child.stdout! });
  }

  /** The commits since the last call, the first time since the start. */
  async commits(): Promise<Commits> {
    const answer = once(this.#answers, "line");
    this.#child.stdin?.write("\n");
    return JSON.parse((await answer)[0]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "close");
  }
}

async function commitRows(path: string, table: string): Promise<void> {
  using database = new DatabaseSync(path, { timeout: 10_000 });
  database.exec("PRAGMA synchronous = NORMAL");
  const insert = database.prepare(`INSERT INTO ${table} DEFAULT VALUES`);
  let [count, longestMs] = [0, 0];
  createInterface({ input: process.stdin }).on("line", () => {
    console.log(JSON.stringify({ count, longestMs } satisfies Commits));
    [count, longestMs] = [0, 0];
  });
  for (;;) {
    const startMs = performance.now();
    insert.run();
    longestMs = Math.max(longestMs, performance.now() - startMs);
    count++;
    await delay(PAUSE_MS);
  }
}

if (import.meta.main) {
  const [path = "", table = ""] = Deno.args;
  await commitRows(path, table);
}
