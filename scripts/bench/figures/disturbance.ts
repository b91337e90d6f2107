/** What an application next to a busy node notices: how long the write lock is away, and how much slower all gets. */
import { type BenchWorld, waitForRow } from "../bench_world.ts";
import type { Measurement, Readings } from "../figure.ts";

const SHAPE = "narrow";
const MARKER = -1;
/** Each application inserts ids of its own. */
const OTHER_FROM = 100_000_001;
/** What the other node's application writes beside the busy one. */
const OTHER_PER_SECOND = 1000;

export const disturbance: readonly Measurement[] = [
  {
    name: "write-lock",
    title: "how long a node holds the write lock while it applies bulk inserts of another",
    figures: [
      { name: "longest", unit: "ms", target: { atMost: 20 } },
      { name: "p99", unit: "ms" },
    ],
    measure: (world, { isQuick }) => measureLock(world, isQuick ? 50_000 : 500_000),
  },
  {
    name: "busy-application",
    title: "an application that writes and reads without a pause, next to a node that publishes and applies",
    limit: "the same without Marmot",
    figures: [
      { name: "one-row transactions", unit: "rows/s", target: { ratioAtLeast: 0.6 } },
      { name: "reads", unit: "rows/s", target: { ratioAtLeast: 0.6 } },
      { name: "longest transaction", unit: "ms" },
    ],
    measure: (world, { isQuick }) => measureSlowDown(world, isQuick ? 1.5 : 10),
  },
];

async function measureLock(world: BenchWorld, rows: number): Promise<Readings> {
  const [path, there] = [world.makeDatabase(SHAPE), world.makeDatabase(SHAPE)];
  const nodes = await world.startNodes([path, there]);
  await using writer = world.startApplication();
  await using prober = world.startApplication();
  await prober.do({ do: "exec", path: there, sql: "SELECT 1" });
  const written = writer.insert({ path, shape: SHAPE, rows, marker: MARKER });
  const { longestMs, p99Ms } = await prober.do({ do: "probe", path: there, shape: SHAPE, marker: MARKER });
  await written;
  for (const node of nodes) await node.stop();
  return { "longest": { value: longestMs }, "p99": { value: p99Ms } };
}

async function measureSlowDown(world: BenchWorld, seconds: number): Promise<Readings> {
  await using application = world.startApplication();
  const plain = await application.do({
    do: "mix",
    path: world.makeDatabase(SHAPE),
    shape: SHAPE,
    from: 1,
    seconds,
  });
  const [path, there] = [world.makeDatabase(SHAPE), world.makeDatabase(SHAPE)];
  const nodes = await world.startNodes([path, there]);
  await using other = world.startApplication();
  const writing = other.do({
    do: "commit",
    path: there,
    shape: SHAPE,
    from: OTHER_FROM,
    seconds,
    perSecond: OTHER_PER_SECOND,
    marker: MARKER,
  });
  const beside = await application.do({ do: "mix", path, shape: SHAPE, from: 1, seconds });
  await writing;
  await waitForRow([path], { shape: SHAPE, id: MARKER, nodes });
  for (const node of nodes) await node.stop();
  return {
    "one-row transactions": { value: beside.writesPerSecond, limit: plain.writesPerSecond ?? NaN },
    "reads": { value: beside.readsPerSecond, limit: plain.readsPerSecond ?? NaN },
    "longest transaction": { value: beside.longestMs, limit: plain.longestMs ?? NaN },
  };
}
