/** How many bytes a row takes on the wire and in the streams, next to those of its record in SQLite's file. */
import { DatabaseSync } from "node:sqlite";
import { type BenchWorld, DEFAULT_SHARDS, waitUntilSettled } from "../bench_world.ts";
import { readStored } from "../broker.ts";
import { CountingProxy } from "../counting_proxy.ts";
import type { Measurement, Readings } from "../figure.ts";
import { type ShapeName, shapeOf } from "../workload.ts";

interface Variant {
  readonly shape: ShapeName;
  readonly compress: boolean;
  readonly title: string;
  readonly ratioAtMost: number;
}

const VARIANTS: readonly Variant[] = [
  { shape: "narrow", compress: false, title: "narrow rows", ratioAtMost: 1.2 },
  { shape: "narrow", compress: true, title: "narrow rows, with -compress", ratioAtMost: 1.2 },
  { shape: "text", compress: false, title: "texts of 1 KiB", ratioAtMost: 0.4 },
  { shape: "text", compress: true, title: "texts of 1 KiB, with -compress", ratioAtMost: 0.4 },
];

export const bytes: readonly Measurement[] = VARIANTS.map((variant) => ({
  name: `bytes-${variant.shape}${variant.compress ? "-compressed" : ""}`,
  title: `bytes of a row: ${variant.title}`,
  limit: "its record in SQLite's file",
  figures: ["published on the wire", "read back on the wire", "stored"].map((name) => ({
    name,
    unit: "bytes/row",
    target: { ratioAtMost: variant.ratioAtMost },
  })),
  measure: (world, { isQuick }) => measure(world, { ...variant, rows: isQuick ? 10_000 : 100_000 }),
}));

/** All that the node sends counts, requests and acknowledgements as well, but not what it says at its start. */
async function measure(
  world: BenchWorld,
  { shape, compress, rows }: Variant & { rows: number },
): Promise<Readings> {
  const path = world.makeDatabase(shape);
  const { port, url } = await world.server;
  await using proxy = await CountingProxy.start(port);
  const flags = compress ? ["-compress"] : [];
  const node = await world.startNode(path, { nodeId: 1, natsUrl: proxy.url, flags });
  await using application = world.startApplication();
  const [up, down] = [proxy.bytesUp, proxy.bytesDown];
  await application.insert({ path, shape, rows });
  await waitUntilSettled(path, [node]);
  const limit = recordBytes(path, shape) / rows;
  const stored = await readStored({ url, shards: DEFAULT_SHARDS, compress });
  const readings = {
    "published on the wire": { value: (proxy.bytesUp - up) / rows, limit },
    "read back on the wire": { value: (proxy.bytesDown - down) / rows, limit },
    "stored": { value: stored.bytes / rows, limit },
  };
  await node.stop();
  return readings;
}

/** Of all rows: their records and their ids. Source: https://www.sqlite.org/fileformat2.html, section 1.6, table leaf cell. */
function recordBytes(path: string, shape: ShapeName): number {
  using database = new DatabaseSync(path, { readOnly: true });
  const { table } = shapeOf(shape);
  const records = database.prepare("SELECT sum(payload) AS bytes FROM dbstat WHERE name = ?").get(table);
  const ids = database.prepare(
    `SELECT sum(CASE WHEN id < 128 THEN 1 WHEN id < 16384 THEN 2 WHEN id < 2097152 THEN 3 ELSE 4 END) AS bytes ` +
      `FROM ${table}`,
  ).get();
  return Number(records?.["bytes"]) + Number(ids?.["bytes"]);
}
