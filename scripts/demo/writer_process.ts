/** One of the demo's applications as a process of its own, and what it says that it has written. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface Written {
  readonly transactions: number;
  /** Rows inserted, updated and deleted by committed transactions. */
  readonly rows: number;
  /** Flights inserted, each under an id that no other writer uses. */
  readonly flights: number;
}

export interface Language {
  readonly name: string;
  readonly command: readonly string[];
}

export const JAVASCRIPT: Language = {
  name: "JavaScript, node:sqlite",
  command: [Deno.execPath(), "run", "--quiet", "--no-check", "--allow-all", pathOf("writer.ts")],
};

/** Python with its own SQLite, if it is installed and its SQLite knows UPSERT (3.24). */
export function findPython(): Language | undefined {
  const print = "import sqlite3; print(sqlite3.sqlite_version)";
  for (const program of ["python3", "python"]) {
    const { status, stdout } = spawnSync(program, ["-c", print], { encoding: "utf8" });
    const [major = 0, minor = 0] = (stdout ?? "").trim().split(".").map(Number);
    if (status !== 0 || major !== 3 || minor < 24) continue;
    return { name: `Python, SQLite ${stdout.trim()}`, command: [program, pathOf("writer.py")] };
  }
  return undefined;
}

function pathOf(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

export class WriterProcess implements AsyncDisposable {
  written: Written = { transactions: 0, rows: 0, flights: 0 };
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #line = "";
  #complaint = "";

  constructor(
    { command }: Language,
    { dbPath, writer, seconds }: { dbPath: string; writer: number; seconds: number },
  ) {
    const [program = "", ...args] = command;
    this.#child = spawn(program, [...args, dbPath, String(writer), String(seconds)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#closed = once(this.#child, "close");
    // Whoever waits gets the failure; nobody has to.
    this.#closed.catch(() => {});
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => this.#read(text));
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => this.#complaint += text);
  }

  /** Waits until the writer has finished. Rejects with its complaint when it failed. */
  async wait(): Promise<void> {
    await this.#closed;
    if (this.#child.exitCode !== 0) throw new Error(`A writer failed: ${this.#complaint.trim()}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed.catch(() => {});
  }

  #read(text: string): void {
    const lines = (this.#line + text).split("\n");
    this.#line = lines.pop() ?? "";
    for (const line of lines) if (line !== "") this.written = JSON.parse(line);
  }
}
