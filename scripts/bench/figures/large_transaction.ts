/** How much memory the nodes take for a transaction that is larger than that. */
import { assertSame, waitForRow, waitUntilSettled } from "../bench_world.ts";
import type { Measurement } from "../figure.ts";
import { peakMemoryMb } from "../process_usage.ts";

const SHAPE = "blob";
const MARKER = -1;
const TARGET = { atMost: 300 };

export const largeTransaction: Measurement = {
  name: "large-transaction",
  title: "one transaction of 200 MB in rows of 100 KiB",
  figures: [
    { name: "peak memory where it was made", unit: "MB", target: TARGET },
    { name: "peak memory of another node", unit: "MB", target: TARGET },
    { name: "arrives", unit: "MB/s" },
  ],
  measure: async (world, { isQuick }) => {
    const megabytes = isQuick ? 40 : 200;
    const rows = Math.ceil(megabytes * 1e6 / 102_400);
    const [path, there] = [world.makeDatabase(SHAPE), world.makeDatabase(SHAPE)];
    const nodes = await world.startNodes([path, there]);
    await using application = world.startApplication();
    await application.do({ do: "exec", path, sql: "SELECT 1" });
    const startedAt = performance.now();
    await application.insert({ path, shape: SHAPE, rows, rowsEach: rows, marker: MARKER });
    await waitForRow([there], { shape: SHAPE, id: MARKER, nodes });
    const seconds = (performance.now() - startedAt) / 1000;
    await waitUntilSettled(path, nodes);
    const [here, other] = nodes.map(({ pid }) => peakMemoryMb(pid));
    assertSame([path, there], SHAPE);
    for (const node of nodes) await node.stop();
    return {
      "peak memory where it was made": { value: here },
      "peak memory of another node": { value: other },
      "arrives": { value: megabytes / seconds },
    };
  },
};
