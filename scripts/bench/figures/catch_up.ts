/** A node that is behind: how fast it reads and applies what the others have published, and in how much memory. */
import { assertSame, DEFAULT_SHARDS, waitForRow, waitUntilSettled } from "../bench_world.ts";
import { consumeAll } from "../broker.ts";
import type { Measurement } from "../figure.ts";
import { peakMemoryMb } from "../process_usage.ts";

const SHAPE = "narrow";
const MARKER = -1;

export const catchUp: Measurement = {
  name: "catch-up",
  title: "a node that is 1,000,000 rows behind, from its start of replicating on",
  limit: "reading the same messages and doing nothing with them",
  figures: [
    { name: "applied", unit: "rows/s", target: { atLeast: 150_000 } },
    { name: "peak memory", unit: "MB", target: { atMost: 300 } },
  ],
  measure: async (world, { isQuick }) => {
    const rows = isQuick ? 50_000 : 1_000_000;
    const [path, behind] = [world.makeDatabase(SHAPE), world.makeDatabase(SHAPE)];
    const { url } = await world.server;
    const writer = await world.startNode(path, { nodeId: 1 });
    await using application = world.startApplication();
    await application.insert({ path, shape: SHAPE, rows, marker: MARKER });
    await waitUntilSettled(path, [writer]);
    const { seconds: reading } = await consumeAll({ url, shards: DEFAULT_SHARDS });
    const node = await world.startNode(behind, { nodeId: 2 });
    const startedAt = performance.now();
    await waitForRow([behind], { shape: SHAPE, id: MARKER, nodes: [node] });
    const seconds = (performance.now() - startedAt) / 1000;
    const peak = peakMemoryMb(node.pid);
    assertSame([path, behind], SHAPE);
    await node.stop();
    return {
      "applied": { value: rows / seconds, limit: rows / reading },
      "peak memory": { value: peak },
    };
  },
};
