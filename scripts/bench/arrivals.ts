/** How long after its commit on one node a row is in another node's database, when all are idle. */
import type { BenchWorld } from "./bench_world.ts";
import type { ShapeName } from "./workload.ts";

const WARM_UP = 50;
/** Longer than a row takes, so that each finds idle nodes. */
export const PAUSE_MS = 11;

/** Milliseconds of each sample; there are two nodes at least. */
export async function timeArrivals(
  world: BenchWorld,
  { shape, samples, tableRows = 0, nodes = 2, shards }: {
    shape: ShapeName;
    samples: number;
    tableRows?: number;
    nodes?: number;
    shards?: number;
  },
): Promise<readonly number[]> {
  const paths = [world.makeDatabase(shape, tableRows)];
  while (paths.length < nodes) paths.push(await world.copyDatabase(paths[0] ?? ""));
  const running = await world.startNodes(paths, shards === undefined ? {} : { shards });
  await using application = world.startApplication();
  const { samplesMs = [] } = await application.do({
    do: "latency",
    path: paths[0] ?? "",
    there: paths.at(-1) ?? "",
    shape,
    from: tableRows + 1,
    samples,
    warmUp: WARM_UP,
    pauseMs: PAUSE_MS,
  });
  for (const node of running) await node.stop();
  return samplesMs;
}
