/** How much a second gets from one node's application into the other nodes' databases. */
import { type Load, timeEndToEnd, timePlain } from "../end_to_end.ts";
import type { Measurement, Target } from "../figure.ts";

interface Throughput {
  readonly name: string;
  readonly title: string;
  readonly nodes: number;
  readonly load: Load;
  /** The same, for a quick look. */
  readonly quickly: Partial<Load>;
  /** Megabytes of a row, where these are counted instead of rows. */
  readonly megabytesEach?: number;
  readonly target: Target;
}

const NARROW: Load = { shape: "narrow", kind: "insert", rows: 500_000, rowsEach: 1000 };
const NARROW_QUICKLY = { rows: 50_000 };
const ALL_ROWS: Target = { atLeast: 100_000, ratioAtLeast: 0.35 };
const OTHER_ROWS: Target = { atLeast: 25_000 };

const THROUGHPUTS: readonly Throughput[] = [
  {
    name: "inserts-2-nodes",
    title: "bulk inserts of narrow rows, 2 nodes",
    nodes: 2,
    load: NARROW,
    quickly: NARROW_QUICKLY,
    target: ALL_ROWS,
  },
  {
    name: "inserts-3-nodes",
    title: "bulk inserts of narrow rows, 3 nodes",
    nodes: 3,
    load: NARROW,
    quickly: NARROW_QUICKLY,
    target: ALL_ROWS,
  },
  {
    name: "random-updates",
    title: "random updates over 1,000,000 rows, 2 nodes",
    nodes: 2,
    load: { shape: "narrow", kind: "update", rows: 200_000, rowsEach: 1000, tableRows: 1_000_000 },
    quickly: { rows: 20_000, tableRows: 100_000 },
    target: OTHER_ROWS,
  },
  {
    name: "wide-rows",
    title: "inserts of rows of 50 columns, 2 nodes",
    nodes: 2,
    load: { shape: "wide", kind: "insert", rows: 100_000, rowsEach: 1000 },
    quickly: { rows: 10_000 },
    target: OTHER_ROWS,
  },
  {
    name: "texts",
    title: "inserts of texts of 1 KiB, 2 nodes",
    nodes: 2,
    load: { shape: "text", kind: "insert", rows: 100_000, rowsEach: 1000 },
    quickly: { rows: 10_000 },
    target: OTHER_ROWS,
  },
  {
    name: "blobs",
    title: "inserts of BLOBs of 100 KiB, 2 nodes",
    nodes: 2,
    load: { shape: "blob", kind: "insert", rows: 3000, rowsEach: 20 },
    quickly: { rows: 400 },
    megabytesEach: 0.1024,
    target: { atLeast: 60 },
  },
];

export const throughput: readonly Measurement[] = THROUGHPUTS.map(
  ({ name, title, nodes, load: wholeLoad, quickly, megabytesEach, target }) => ({
    name,
    title,
    limit: "the same writes done plainly",
    figures: [{ name: "end to end", unit: megabytesEach === undefined ? "rows/s" : "MB/s", target }],
    measure: async (world, { isQuick }) => {
      const load = isQuick ? { ...wholeLoad, ...quickly } : wholeLoad;
      const amount = load.rows * (megabytesEach ?? 1);
      const limit = amount / await timePlain(world, load);
      return { "end to end": { value: amount / await timeEndToEnd(world, load, { nodes }), limit } };
    },
  }),
);
