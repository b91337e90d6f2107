/** What Marmot costs the application: inserts per second without triggers, with them, and with a node at work. */
import { setTimeout as delay } from "node:timers/promises";
import { armDatabase, type BenchWorld } from "./bench_world.ts";
import { type Spread, spreadOf } from "./spread.ts";

const LOADS = [
  { name: "1,000 rows a transaction", rows: 100_000, rowsEach: 1000 },
  { name: "1 row a transaction", rows: 10_000, rowsEach: 1 },
];
const MODES = ["plain", "triggers", "node"] as const;
const SETTLE_MS = 300;

export interface InsertSpeed {
  readonly load: string;
  /** Rows per second: no Marmot, its triggers alone, a node running beside. */
  readonly plain: Spread;
  readonly triggers: Spread;
  readonly node: Spread;
  /** Of the median of plain. */
  readonly triggersShare: number;
  readonly nodeShare: number;
}

/** The modes take turns, so that a machine that gets slower slows all of them. */
export async function measureInsertSpeed(world: BenchWorld, repetitions: number): Promise<InsertSpeed[]> {
  const results: InsertSpeed[] = [];
  for (const load of LOADS) {
    const figures = { plain: [] as number[], triggers: [] as number[], node: [] as number[] };
    for (let repetition = 0; repetition < repetitions; repetition++) {
      for (const mode of MODES) figures[mode].push(await measureOnce(world, { mode, ...load }));
    }
    const [plain, triggers, node] = MODES.map((mode) => spreadOf(figures[mode])) as [Spread, Spread, Spread];
    const triggersShare = triggers.median / plain.median;
    results.push({
      load: load.name,
      plain,
      triggers,
      node,
      triggersShare,
      nodeShare: node.median / plain.median,
    });
  }
  return results;
}

interface Load {
  readonly mode: typeof MODES[number];
  readonly rows: number;
  readonly rowsEach: number;
}

async function measureOnce(world: BenchWorld, { mode, rows, rowsEach }: Load): Promise<number> {
  const application = world.makeDatabase();
  if (mode !== "plain") armDatabase(application);
  const node = mode === "node" ? await world.startNode(application, 1) : undefined;
  // Statements are compiled, files are there.
  application.insert(1, { rows: rowsEach, rowsEach });
  await delay(SETTLE_MS);
  const startedAt = performance.now();
  application.insert(1 + rowsEach, { rows, rowsEach });
  const seconds = (performance.now() - startedAt) / 1000;
  application.close();
  await node?.stop();
  await world.forgetStreams();
  return rows / seconds;
}
