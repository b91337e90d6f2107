/** How soon a node publishes that finds much to do at its start, or a large database; and in how much memory. */
import { armDatabase, type BenchWorld, DEFAULT_SHARDS, waitUntilSettled } from "../bench_world.ts";
import { openStreams, waitForMessage } from "../broker.ts";
import type { Measurement, Readings } from "../figure.ts";
import { peakMemoryMb } from "../process_usage.ts";
import type { ShapeName } from "../workload.ts";

const TARGET = { atMost: 1 };
/** A GiB in rows of 1 KiB. */
const LARGE_ROWS = 1_000_000;

export const starts: readonly Measurement[] = [
  {
    name: "start-with-backlog",
    title: "start of a node with 1,000,000 entries pending in its change log",
    figures: [
      { name: "process start to first message", unit: "s", target: TARGET },
      { name: "all published and read back", unit: "rows/s" },
      { name: "peak memory", unit: "MB", target: { atMost: 300 } },
    ],
    measure: (world, { isQuick }) =>
      measure(world, { shape: "narrow", tableRows: 0, pending: isQuick ? 50_000 : 1_000_000 }),
  },
  {
    name: "start-with-large-database",
    title: "start of a node with a database of 1 GiB",
    figures: [
      { name: "process start to first message", unit: "s", target: TARGET },
      { name: "peak memory", unit: "MB", target: { atMost: 300 } },
    ],
    measure: (world, { isQuick }) =>
      measure(world, { shape: "text", tableRows: isQuick ? LARGE_ROWS / 20 : LARGE_ROWS, pending: 1 }),
  },
];

async function measure(
  world: BenchWorld,
  { shape, tableRows, pending }: { shape: ShapeName; tableRows: number; pending: number },
): Promise<Readings> {
  const path = world.makeDatabase(shape, tableRows);
  armDatabase(path);
  await using application = world.startApplication();
  await application.insert({ path, shape, from: tableRows + 1, rows: pending });
  await application.do({ do: "close", path });
  const streams = await openStreams({ url: (await world.server).url, shards: DEFAULT_SHARDS });
  try {
    const first = waitForMessage(streams);
    const startedAt = performance.now();
    const node = await world.spawnNode(path, { nodeId: 1 });
    await Promise.race([first, node.waitUntilReplicating().then(() => first)]);
    const startSeconds = (performance.now() - startedAt) / 1000;
    await waitUntilSettled(path, [node]);
    const seconds = (performance.now() - startedAt) / 1000;
    const peak = peakMemoryMb(node.pid);
    await node.stop();
    return {
      "process start to first message": { value: startSeconds },
      "all published and read back": { value: pending / seconds },
      "peak memory": { value: peak },
    };
  } finally {
    await streams.close();
  }
}
