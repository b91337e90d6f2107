/** One-row transactions for a while, on one node and on three at once: do they get through, and how far behind are they? */
import { assertSame, type BenchWorld, waitForRow } from "../bench_world.ts";
import type { Measurement, Readings } from "../figure.ts";
import { shapeOf } from "../workload.ts";

const SHAPE = "narrow";
/** In sum over all nodes. */
const PER_SECOND = 20_000;
const NODES = 3;
/** Each node inserts ids of its own. */
const IDS_EACH = 100_000_000;

export const sustained: readonly Measurement[] = [1, NODES].map((writers) => ({
  name: writers === 1 ? "sustained-1-writer" : `sustained-${writers}-writers`,
  title: `one-row transactions on ${writers === 1 ? "one" : "each"} of ${NODES} nodes, ` +
    `${PER_SECOND.toLocaleString("en-US")} a second offered in sum`,
  limit: "what as many applications can commit without Marmot",
  figures: [
    { name: "commits", unit: "rows/s", target: { atLeast: PER_SECOND * 0.99 } },
    { name: "lag at the end", unit: "s", target: { atMost: 1 } },
    { name: "until all are everywhere", unit: "rows/s", target: { atLeast: PER_SECOND * 0.9 } },
  ],
  measure: (world, { isQuick }) => measure(world, { writers, seconds: isQuick ? 2 : 15 }),
}));

async function measure(
  world: BenchWorld,
  { writers, seconds }: { writers: number; seconds: number },
): Promise<Readings> {
  const plainPaths = Array.from({ length: writers }, () => world.makeDatabase(SHAPE));
  const plain = await commitAtOnce(world, plainPaths, { seconds: Math.min(seconds, 3) });
  const paths = Array.from({ length: NODES }, () => world.makeDatabase(SHAPE));
  const nodes = await world.startNodes(paths);
  const written = await commitAtOnce(world, paths.slice(0, writers), {
    seconds,
    perSecond: PER_SECOND / writers,
  });
  for (let writer = 0; writer < writers; writer++) {
    await waitForRow(paths, { shape: SHAPE, id: markerOf(writer), nodes });
  }
  const lagSeconds = Math.max(0, (performance.timeOrigin + performance.now() - written.endedAtMs) / 1000);
  assertSame(paths, SHAPE);
  for (const node of nodes) await node.stop();
  return {
    "commits": { value: written.rows / written.seconds, limit: plain.rows / plain.seconds },
    "lag at the end": { value: lagSeconds },
    "until all are everywhere": { value: written.rows / (written.seconds + lagSeconds) },
  };
}

async function commitAtOnce(
  world: BenchWorld,
  paths: readonly string[],
  pace: { seconds: number; perSecond?: number },
): Promise<{ rows: number; seconds: number; endedAtMs: number }> {
  await using applications = new AsyncDisposableStack();
  const started = await Promise.all(paths.map(async (path) => {
    const application = applications.use(world.startApplication());
    await application.do({ do: "exec", path, sql: `SELECT count(*) FROM ${shapeOf(SHAPE).table}` });
    return { application, path };
  }));
  const answers = await Promise.all(started.map(({ application, path }, writer) =>
    application.do({
      do: "commit",
      path,
      shape: SHAPE,
      from: writer * IDS_EACH + 1,
      marker: markerOf(writer),
      ...pace,
    })
  ));
  return {
    rows: answers.reduce((sum, { rows = NaN }) => sum + rows, 0),
    seconds: Math.max(...answers.map(({ seconds = NaN }) => seconds)),
    endedAtMs: Math.max(...answers.map(({ endedAtMs = NaN }) => endedAtMs)),
  };
}

function markerOf(writer: number): number {
  return -1 - writer;
}
