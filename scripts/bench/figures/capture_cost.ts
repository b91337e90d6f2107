/** What the capture triggers cost an application that writes, next to the same writes without them. */
import type { ApplicationProcess } from "../application_process.ts";
import { armDatabase, type BenchWorld } from "../bench_world.ts";
import type { Figure, Measurement, Readings } from "../figure.ts";
import type { ShapeName } from "../workload.ts";

const ROWS_EACH = 1000;
const SINGLE_FROM = 10_000_001;

interface Phase {
  readonly figure: Figure;
  readonly kind: "insert" | "update" | "delete";
  readonly isSingle: boolean;
}

function phase(
  name: string,
  kind: Phase["kind"],
  { isSingle, target }: { isSingle: boolean; target: number },
): Phase {
  return { figure: { name, unit: "rows/s", target: { ratioAtLeast: target } }, kind, isSingle };
}

/** In this order on one table: what was inserted is updated, then deleted. */
const PHASES = [
  phase("inserts, 1,000 rows a transaction", "insert", { isSingle: false, target: 0.75 }),
  phase("inserts, 1 row a transaction", "insert", { isSingle: true, target: 0.65 }),
  phase("updates, 1,000 rows a transaction", "update", { isSingle: false, target: 0.8 }),
  phase("deletes, 1,000 rows a transaction", "delete", { isSingle: false, target: 0.75 }),
];
const UNIQUE_PHASES = [
  phase("inserts, 1,000 rows a transaction", "insert", { isSingle: false, target: 0.6 }),
];

interface Variant {
  readonly shape: ShapeName;
  readonly synchronous: "NORMAL" | "FULL";
  readonly phases: readonly Phase[];
}

type Speeds = Readonly<Record<string, number>>;

export const captureCost: readonly Measurement[] = [
  captureMeasurement("capture-normal", { shape: "narrow", synchronous: "NORMAL", phases: PHASES }),
  captureMeasurement("capture-full", { shape: "narrow", synchronous: "FULL", phases: PHASES }),
  captureMeasurement("capture-unique", { shape: "unique", synchronous: "NORMAL", phases: UNIQUE_PHASES }),
  {
    name: "capture-beside-node",
    title: "an application's inserts with the triggers and a node at work",
    limit: "without Marmot",
    figures: PHASES.slice(0, 2).map(({ figure: { name, unit } }) => ({ name, unit })),
    measure: (world, { isQuick }) =>
      measure(world, { shape: "narrow", synchronous: "NORMAL", phases: PHASES.slice(0, 2) }, {
        isQuick,
        prepare: async (path) => {
          const node = await world.startNode(path, { nodeId: 1 });
          return () => node.stop();
        },
      }),
  },
];

function captureMeasurement(name: string, variant: Variant): Measurement {
  const { shape, synchronous, phases } = variant;
  return {
    name,
    title: `an application's writes with the triggers, synchronous ${synchronous}` +
      (shape === "unique" ? ", a table with a UNIQUE index" : ""),
    limit: "without them",
    figures: phases.map(({ figure }) => figure),
    measure: (world, { isQuick }) =>
      measure(world, variant, {
        isQuick,
        prepare: (path) => {
          armDatabase(path);
          return Promise.resolve(() => Promise.resolve());
        },
      }),
  };
}

async function measure(
  world: BenchWorld,
  variant: Variant,
  { isQuick, prepare }: { isQuick: boolean; prepare: (path: string) => Promise<() => Promise<unknown>> },
): Promise<Readings> {
  await using application = world.startApplication();
  const plainPath = world.makeDatabase(variant.shape);
  const plain = await writeAll(application, { ...variant, path: plainPath, isQuick });
  const path = world.makeDatabase(variant.shape);
  const finish = await prepare(path);
  const captured = await writeAll(application, { ...variant, path, isQuick });
  await finish();
  return Object.fromEntries(variant.phases.map(({ figure: { name } }) => [name, {
    value: captured[name],
    limit: plain[name] ?? NaN,
  }]));
}

/** Rows a second of each phase. */
async function writeAll(
  application: ApplicationProcess,
  { path, shape, synchronous, phases, isQuick }: Variant & { path: string; isQuick: boolean },
): Promise<Speeds> {
  const rows = isQuick ? 30_000 : 200_000;
  const singleRows = (isQuick ? 3_000 : 20_000) / (synchronous === "FULL" ? 5 : 1);
  await application.do({ do: "exec", path, sql: `PRAGMA synchronous = ${synchronous}` });
  const speeds: Record<string, number> = {};
  for (const { figure: { name }, kind, isSingle } of phases) {
    const order = isSingle
      ? { from: SINGLE_FROM, rows: singleRows, rowsEach: 1 }
      : { from: 1, rows, rowsEach: ROWS_EACH };
    const { seconds = NaN } = await application.do({ do: "write", path, shape, kind, ...order });
    speeds[name] = order.rows / seconds;
  }
  await application.do({ do: "close", path });
  return speeds;
}
