/**
 * A Marmot node as a process of its own, for the demo, the measurements and the artefact's test: from source, or
 * any executable. It ends with the `await using` block that made it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const POLL_MS = 5;
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;
/** Of the log, this much is kept for messages about failures. */
const LOG_CHARACTERS = 20_000;

/** How a node is started from source. */
export const FROM_SOURCE: readonly string[] = [
  Deno.execPath(),
  ...["run", "--quiet", "--no-check", "--allow-all"],
  fileURLToPath(new URL("../src/main.ts", import.meta.url)),
];

export interface MarmotProcessOptions {
  readonly nodeId: number;
  readonly dbPath: string;
  readonly natsUrl: string;
  /** A folder for the node's seq-map file. */
  readonly folder: string;
  /** Program and first arguments; from source when left out. */
  readonly command?: readonly string[];
  readonly flags?: readonly string[];
}

export class MarmotProcess implements AsyncDisposable {
  readonly nodeId: number;
  /** The end of what the process has written to stderr. */
  log = "";
  /** Figures of the last line of progress, by name; see src/node/progress.ts. */
  readonly progress = new Map<string, number>();
  readonly #child: ChildProcess;
  #line = "";
  #isReplicating = false;
  #failure: Error | undefined;

  /** Starts a process; it replicates once `waitUntilReplicating` resolves. */
  constructor({ nodeId, dbPath, natsUrl, folder, command = FROM_SOURCE, flags = [] }: MarmotProcessOptions) {
    this.nodeId = nodeId;
    const [program = "", ...first] = command;
    this.#child = spawn(program, [
      ...first,
      ...["-node-id", String(nodeId), "-db-path", dbPath, "-nats-url", natsUrl],
      ...["-seq-map-path", join(folder, `seq-map-${nodeId}.cbor`), "-verbose", ...flags],
    ], { stdio: ["ignore", "ignore", "pipe"] });
    this.#child.once("error", (error) => this.#failure = error);
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => this.#read(text));
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** A figure of the last line of progress, 0 before there was one. */
  figure(name: string): number {
    return this.progress.get(name) ?? 0;
  }

  async waitUntilReplicating(): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!this.#isReplicating) {
      if (this.#failure) throw this.#failure;
      if (this.hasEnded || Date.now() > deadline) {
        throw new Error(`Node ${this.nodeId} does not start:\n${this.log}`);
      }
      await delay(POLL_MS);
    }
  }

  get hasEnded(): boolean {
    return this.#failure !== undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Ends the process as an operator does and returns its exit code; kills it, and returns null, when it hangs. */
  async stop(): Promise<number | null> {
    return await this.#end("SIGTERM");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end("SIGKILL");
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    if (this.#child.pid === undefined || this.hasEnded) return this.#child.exitCode;
    const closed = once(this.#child, "close");
    process.kill(this.#child.pid, signal);
    const late = setTimeout(() => this.#child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await closed;
    clearTimeout(late);
    return this.#child.exitCode;
  }

  #read(text: string): void {
    this.log = (this.log + text).slice(-LOG_CHARACTERS);
    const lines = (this.#line + text).split("\n");
    this.#line = lines.pop() ?? "";
    for (const line of lines) {
      if (/ replicating$/.test(line)) this.#isReplicating = true;
      if (!/ DEBUG progress /.test(line)) continue;
      for (const [, name = "", value] of line.matchAll(/(\w+)=(\d+)/g)) {
        this.progress.set(name, Number(value));
      }
    }
  }
}
