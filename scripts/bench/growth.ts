/**
 * Whether the cost of a row stays the same while something grows: nodes, shards, rows of the table, bytes of a row. All
 * else is as usual: 2 nodes, 8 shards, narrow rows.
 */
import { DEFAULT_SHARDS } from "./bench_world.ts";
import { type Load, timeEndToEnd } from "./end_to_end.ts";
import type { Measurement, Scale } from "./figure.ts";
import { timeArrivals } from "./arrivals.ts";
import { percentile } from "./spread.ts";

/** Bytes that rows of any size are written in, so that each takes about as long. */
const BYTES = { whole: 100e6, quick: 5e6 };
const MAX_ROWS = { whole: 200_000, quick: 10_000 };
const BULK_BYTES = 256 * 1024;
const SAMPLES = { whole: 500, quick: 50 };

interface Point {
  readonly name: string;
  readonly title: string;
  readonly nodes?: number;
  readonly shards?: number;
  readonly tableRows?: number;
  readonly rowBytes?: number;
  /** Left out of a quick look. */
  readonly isLarge?: boolean;
}

const POINTS: readonly Point[] = [
  ...[1, 2, 4, 8].map((nodes) => ({ name: `nodes-${nodes}`, title: `${nodes} nodes`, nodes })),
  ...[1, 8, 32].map((shards) => ({ name: `shards-${shards}`, title: `${shards} shards`, shards })),
  ...[1e3, 1e4, 1e5, 1e6, 1e7].map((tableRows) => ({
    name: `table-${tableRows}`,
    title: `random updates in a table of ${tableRows.toLocaleString("en-US")} rows`,
    tableRows,
    isLarge: tableRows > 1e5,
  })),
  ...[50, 1000, 10_000, 100_000, 1_000_000].map((rowBytes) => ({
    name: `row-${rowBytes}`,
    title: `rows of ${rowBytes.toLocaleString("en-US")} bytes`,
    rowBytes,
  })),
];

export const GROWTH: readonly Measurement[] = POINTS.map((point) => ({
  name: point.name,
  title: point.title,
  figures: [
    { name: "end to end", unit: "rows/s" },
    { name: "per row", unit: "µs" },
    { name: "latency p50", unit: "ms" },
    { name: "latency p99", unit: "ms" },
  ],
  measure: async (world, scale) => {
    if (point.isLarge && scale.isQuick) return {};
    const load = loadOf(point, scale);
    const { nodes = 2, shards = DEFAULT_SHARDS } = point;
    const seconds = await timeEndToEnd(world, load, { nodes, shards });
    const readings = {
      "end to end": { value: load.rows / seconds },
      "per row": { value: seconds / load.rows * 1e6 },
    };
    // One node alone has nobody to arrive at.
    if (nodes === 1) return readings;
    await world.forgetStreams();
    const samplesMs = await timeArrivals(world, {
      shape: load.shape,
      tableRows: load.tableRows ?? 0,
      samples: scale.isQuick ? SAMPLES.quick : SAMPLES.whole,
      nodes,
      shards,
    });
    return {
      ...readings,
      "latency p50": { value: percentile(samplesMs, 50) },
      "latency p99": { value: percentile(samplesMs, 99) },
    };
  },
}));

function loadOf({ tableRows, rowBytes }: Point, { isQuick }: Scale): Load {
  const size = isQuick ? "quick" : "whole";
  if (tableRows !== undefined) {
    return { shape: "narrow", kind: "update", rows: MAX_ROWS[size], rowsEach: 1000, tableRows };
  }
  if (rowBytes === undefined) {
    return { shape: "narrow", kind: "insert", rows: MAX_ROWS[size], rowsEach: 1000 };
  }
  const rows = Math.round(Math.min(MAX_ROWS[size], Math.max(20, BYTES[size] / rowBytes)));
  const rowsEach = Math.max(1, Math.min(1000, Math.floor(BULK_BYTES / rowBytes)));
  return { shape: `sized-${rowBytes}`, kind: "insert", rows, rowsEach };
}
