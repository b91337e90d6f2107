/** How long after its commit on one node a row is in the database of another: two real nodes on loopback. */
import { setTimeout as delay } from "node:timers/promises";
import type { BenchWorld } from "./bench_world.ts";
import { percentile, type Spread, spreadOf } from "./spread.ts";

const WARM_UP = 50;
const SAMPLES = 300;
/** Longer than a row takes, so that each finds idle nodes; a little random, so that no timer keeps step. */
const PAUSE_MS = { min: 8, max: 14 };
/** A loop without pause would take one of the nodes' cores. */
const POLL_MS = 0.05;
const TIMEOUT_MS = 5000;

export interface Latency {
  readonly p50Ms: Spread;
  readonly p99Ms: Spread;
  readonly samples: number;
  /** Mean time between two looks at the other database: what the figures are too high by, at most. */
  readonly pollingMs: number;
}

export async function measureLatency(world: BenchWorld, repetitions: number): Promise<Latency> {
  const p50: number[] = [];
  const p99: number[] = [];
  const polling: number[] = [];
  for (let repetition = 0; repetition < repetitions; repetition++) {
    const { samplesMs, pollingMs } = await measureOnce(world);
    p50.push(percentile(samplesMs, 50));
    p99.push(percentile(samplesMs, 99));
    polling.push(pollingMs);
  }
  return { p50Ms: spreadOf(p50), p99Ms: spreadOf(p99), samples: SAMPLES, pollingMs: percentile(polling, 50) };
}

async function measureOnce(world: BenchWorld): Promise<{ samplesMs: number[]; pollingMs: number }> {
  const [here, there] = [world.makeDatabase(), world.makeDatabase()];
  const nodes = await Promise.all([world.startNode(here, 1), world.startNode(there, 2)]);
  const version = there.database.prepare("PRAGMA data_version");
  const find = there.database.prepare("SELECT 1 FROM reading WHERE id = ?");
  const samplesMs: number[] = [];
  let polls = 0;
  for (let id = 1; id <= WARM_UP + SAMPLES; id++) {
    await delay(PAUSE_MS.min + Math.random() * (PAUSE_MS.max - PAUSE_MS.min));
    let before = version.get()?.["data_version"];
    here.insert(id, { rows: 1, rowsEach: 1 });
    const committedAt = performance.now();
    for (;;) {
      const now = version.get()?.["data_version"];
      if (now !== before && find.get(id)) break;
      before = now;
      if (performance.now() - committedAt > TIMEOUT_MS) throw new Error(`Row ${id} does not arrive`);
      if (id > WARM_UP) polls++;
      sleep(POLL_MS);
    }
    if (id > WARM_UP) samplesMs.push(performance.now() - committedAt);
  }
  for (const node of nodes) await node.stop();
  await world.forgetStreams();
  const totalMs = samplesMs.reduce((sum, ms) => sum + ms, 0);
  return { samplesMs, pollingMs: totalMs / (polls + SAMPLES) };
}

const NEVER_WOKEN = new Int32Array(new SharedArrayBuffer(4));

/** Timers of the event loop count whole milliseconds. */
function sleep(ms: number): void {
  Atomics.wait(NEVER_WOKEN, 0, 0, ms);
}
