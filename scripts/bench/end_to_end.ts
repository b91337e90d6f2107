/** Writes of one application on their way into the other nodes' databases, and the same writes done plainly. */
import type { Order } from "./application_process.ts";
import { assertSame, type BenchWorld, waitForRow, waitUntilSettled } from "./bench_world.ts";
import type { ShapeName } from "./workload.ts";

/** Below the ids of all other rows. */
const MARKER = -1;

export interface Load {
  readonly shape: ShapeName;
  readonly kind: "insert" | "update";
  readonly rows: number;
  /** Rows of one transaction. */
  readonly rowsEach: number;
  /** Rows that every database holds before, which updates choose among. */
  readonly tableRows?: number;
}

export interface EndToEndOptions {
  readonly nodes: number;
  readonly shards?: number;
}

/**
 * Seconds from the first write until the last row is in every node's database; with one node until all was published and
 * read back. Throws where the databases differ then.
 */
export async function timeEndToEnd(world: BenchWorld, load: Load, options: EndToEndOptions): Promise<number> {
  const { shape, tableRows = 0 } = load;
  const paths = [world.makeDatabase(shape, tableRows)];
  while (paths.length < options.nodes) paths.push(await world.copyDatabase(paths[0] ?? ""));
  const [path = "", ...others] = paths;
  const nodes = await world.startNodes(paths, options.shards === undefined ? {} : { shards: options.shards });
  await using application = world.startApplication();
  await application.do({ do: "exec", path, sql: "SELECT 1" });
  const startedAt = performance.now();
  const written = application.do(orderOf(path, load));
  const arrived = written.then(() =>
    others.length > 0 ? waitForRow(others, { shape, id: MARKER, nodes }) : waitUntilSettled(path, nodes)
  );
  await arrived;
  const seconds = (performance.now() - startedAt) / 1000;
  assertSame(paths, shape);
  for (const node of nodes) await node.stop();
  return seconds;
}

/** Seconds of the same writes into a database without Marmot. */
export async function timePlain(world: BenchWorld, load: Load): Promise<number> {
  const path = world.makeDatabase(load.shape, load.tableRows);
  await using application = world.startApplication();
  await application.do({ do: "exec", path, sql: "SELECT 1" });
  const { seconds = NaN } = await application.do(orderOf(path, load));
  return seconds;
}

function orderOf(path: string, { shape, kind, rows, rowsEach, tableRows }: Load): Order {
  const where = kind === "update" && tableRows !== undefined
    ? { from: 0, among: tableRows }
    : { from: (tableRows ?? 0) + 1 };
  return { do: "write", path, shape, kind, rows, rowsEach, ...where, marker: MARKER };
}
