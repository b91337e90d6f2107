/** What nodes take that have nothing to do. */
import { setTimeout as delay } from "node:timers/promises";
import type { MarmotProcess } from "../../marmot_process.ts";
import type { Measurement } from "../figure.ts";
import { cpuSeconds, memoryMb, openHandles } from "../process_usage.ts";

const SETTLE_MS = 2000;

export const idle: readonly Measurement[] = [1, 3].map((count) => ({
  name: count === 1 ? "idle-1-node" : `idle-${count}-nodes`,
  title: `what an idle node takes, ${count === 1 ? "alone" : `the busiest of ${count}`}`,
  figures: [
    { name: "processor", unit: "% of a core", target: { atMost: 0.5 } },
    { name: "memory", unit: "MB", target: { atMost: 120 } },
    { name: "open file handles", unit: "" },
  ],
  measure: async (world, { isQuick }) => {
    const seconds = isQuick ? 3 : 20;
    const nodes = await world.startNodes(Array.from({ length: count }, () => world.makeDatabase("narrow")));
    await delay(SETTLE_MS);
    const before = nodes.map(({ pid }) => cpuSeconds(pid));
    const startedAt = performance.now();
    await delay(seconds * 1000);
    const elapsed = (performance.now() - startedAt) / 1000;
    const used = nodes.map(({ pid }, i) => difference(cpuSeconds(pid), before[i]));
    const readings = {
      "processor": { value: highest(used.map((cpu) => cpu === undefined ? undefined : cpu / elapsed * 100)) },
      "memory": { value: highestOf(nodes, memoryMb) },
      "open file handles": { value: highestOf(nodes, openHandles) },
    };
    for (const node of nodes) await node.stop();
    return readings;
  },
}));

function difference(now: number | undefined, before: number | undefined): number | undefined {
  return now === undefined || before === undefined ? undefined : now - before;
}

function highestOf(
  nodes: readonly MarmotProcess[],
  read: (pid: number) => number | undefined,
): number | undefined {
  return highest(nodes.map(({ pid }) => read(pid)));
}

function highest(figures: readonly (number | undefined)[]): number | undefined {
  const known = figures.filter((figure) => figure !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}
