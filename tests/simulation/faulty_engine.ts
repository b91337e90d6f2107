/** A copy of the engine with one deliberate fault, and the histories of the simulation run on it. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Fault } from "./deliberate_faults.ts";
import type { Mode } from "./plan.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** What the simulation needs of the project. */
const COPIED = ["src", "tests/simulation", "scripts/table_dump.ts", "deno.json", "deno.lock"];
/** A history takes milliseconds: an engine that is silent for so long hangs. */
const HANG_MS = 20_000;

/** What is run: seeds of a mode, both ends included, or a kept history. */
export type Task =
  | { readonly mode: Mode; readonly from: number; readonly to: number }
  | { readonly history: string };

export interface Found {
  readonly seed: number;
  /** What the fault was seen by. */
  readonly saw: string;
}

export class FaultyEngine implements AsyncDisposable {
  private constructor(readonly folder: string) {}

  /** Throws where a text that the fault changes is not in its file just once: the engine has changed. */
  static async make(fault: Fault): Promise<FaultyEngine> {
    const memory = "/dev/shm";
    const engine = new FaultyEngine(
      await mkdtemp(join(existsSync(memory) ? memory : tmpdir(), "marmot-faulty-")),
    );
    try {
      for (const path of COPIED) await cp(join(ROOT, path), join(engine.folder, path), { recursive: true });
      for (const { file, find, replace } of fault.changes) {
        const path = join(engine.folder, file);
        const source = await readFile(path, "utf8");
        if (source.split(find).length !== 2) {
          throw new Error(`the fault "${fault.name}" changes ${file} at a place that is not there just once`);
        }
        await writeFile(path, source.replace(find, () => replace));
      }
      return engine;
    } catch (error) {
      await engine[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * The first history that fails on this engine; undefined if none does. One in which it hangs or ends has failed. Throws
   * where the faulty engine does not even begin.
   */
  async firstFailure(task: Task): Promise<Found | undefined> {
    const program = join(this.folder, "tests/simulation/first_failure.ts");
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "--allow-all", program, JSON.stringify(task)],
      cwd: this.folder,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const errors = new Response(process.stderr).text();
    let last: { seed: number; saw?: string } | undefined;
    let isHanging = false;
    const kill = () => {
      isHanging = true;
      process.kill("SIGKILL");
    };
    let timer = setTimeout(kill, HANG_MS);
    for await (const line of linesOf(process.stdout)) {
      clearTimeout(timer);
      timer = setTimeout(kill, HANG_MS);
      last = JSON.parse(line);
    }
    const { success } = await process.status;
    clearTimeout(timer);
    const said = await errors;
    if (!last) throw new Error(`Cannot run the faulty engine: ${said}`);
    const { seed, saw } = last;
    if (saw !== undefined) return { seed, saw };
    if (isHanging) return { seed, saw: "hang: a history did not end" };
    return success ? undefined : { seed, saw: `end: ${firstError(said)}` };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

/** What a process said when it ended by an error of its own. */
function firstError(said: string): string {
  return said.split("\n").find((line) => /error/i.test(line)) ?? said.slice(0, 200);
}
