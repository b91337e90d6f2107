/** How many rows a second get from one node's application into another node's database, in bulk. */
import { Worker } from "node:worker_threads";
import { setTimeout as delay } from "node:timers/promises";
import type { BenchWorld } from "./bench_world.ts";
import { type Spread, spreadOf } from "./spread.ts";

const ROWS = 200_000;
const ROWS_EACH = 1000;
const POLL_MS = 5;
const TIMEOUT_MS = 120_000;

export interface Throughput {
  readonly rows: number;
  /** From the first insert until the other node holds all. */
  readonly rowsPerSecond: Spread;
  /** How long the application took of it, and the whole. */
  readonly writingSeconds: Spread;
  readonly seconds: Spread;
}

/** `command` starts the nodes, for a profiler; from source when left out. */
export async function measureThroughput(
  world: BenchWorld,
  repetitions: number,
  { command }: { command?: readonly string[] } = {},
): Promise<Throughput> {
  const seconds: number[] = [];
  const writing: number[] = [];
  for (let repetition = 0; repetition < repetitions; repetition++) {
    const [here, there] = [world.makeDatabase(), world.makeDatabase()];
    const nodes = await Promise.all([world.startNode(here, 1, command), world.startNode(there, 2, command)]);
    const highest = there.database.prepare("SELECT max(id) AS id FROM reading");
    const count = there.database.prepare("SELECT count(*) AS n FROM reading");
    const startedAt = performance.now();
    const written = write(here.path).then(() => writing.push((performance.now() - startedAt) / 1000));
    while (highest.get()?.["id"] !== ROWS || count.get()?.["n"] !== ROWS) {
      if (performance.now() - startedAt > TIMEOUT_MS) throw new Error(`Rows are missing:\n${nodes[1].log}`);
      await delay(POLL_MS);
    }
    seconds.push((performance.now() - startedAt) / 1000);
    await written;
    for (const node of nodes) await node.stop();
    await world.forgetStreams();
  }
  return {
    rows: ROWS,
    rowsPerSecond: spreadOf(seconds.map((taken) => ROWS / taken)),
    writingSeconds: spreadOf(writing),
    seconds: spreadOf(seconds),
  };
}

/** Writes all rows in a thread of its own: this one looks at the other database meanwhile. */
function write(path: string): Promise<void> {
  const worker = new Worker(new URL("bulk_writer.ts", import.meta.url), {
    workerData: { path, rows: ROWS, rowsEach: ROWS_EACH },
  });
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("exit", () => resolve());
  });
}
