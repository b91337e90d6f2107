/**
 * The main job, live: three copies of a database, three Marmot nodes, three ordinary applications that write at the
 * same time and in part to the same rows, and at the end the proof that all copies are equal. Ends with 0 only if
 * they are; leaves nothing behind, after Ctrl+C neither.
 *
 *     deno task demo [--seconds 10]
 */
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { errorText, MarmotError } from "../src/errors.ts";
import { NatsServer } from "../tests/support/nats_server.ts";
import { type Content, DemoNode, hasConverged } from "./demo/demo_node.ts";
import { formatCount, formatTable, LiveView } from "./demo/live_view.ts";
import { makeSampleDatabase } from "./demo/sample_database.ts";
import { findPython, JAVASCRIPT } from "./demo/writer_process.ts";

const NODES = 3;
const PAINT_MS = 500;
const POLL_MS = 10;
const CONVERGE_TIMEOUT_MS = 60_000;
const INTERRUPTED = 130;

async function main(seconds: number, stop: AbortSignal): Promise<number> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await NatsServer.start({ onProgress: (text) => console.log(text) }));
  stop.throwIfAborted();
  const folder = await mkdtemp(join(tmpdir(), "marmot-demo-"));
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));

  const sample = join(folder, "sample.db");
  const rows = await makeSampleDatabase(sample);
  console.log(
    `nats-server with JetStream on port ${server.port}; ${NODES} copies of a database of ${
      formatCount(rows)
    } rows: airports, flights, routes, bird strikes, films`,
  );

  const python = findPython();
  const nodes: DemoNode[] = [];
  for (let id = 1; id <= NODES; id++) {
    const dbPath = join(folder, `node-${id}.db`);
    await copyFile(sample, dbPath);
    const language = id === 1 ? python ?? JAVASCRIPT : JAVASCRIPT;
    nodes.push(cleanup.use(new DemoNode(id, dbPath, language, { natsUrl: server.url, folder })));
  }
  await Promise.all(nodes.map((node) => node.marmot.waitUntilReplicating()));
  console.log(`${NODES} Marmot nodes replicate; each application writes for ${seconds} seconds\n`);

  const view = new LiveView();
  await write(nodes, { view, seconds, stop });
  const convergedMs = await converge(nodes, { view, stop });
  // Ends them in order: the last figures come with the end.
  const exitCodes = await Promise.all(nodes.map((node) => node.marmot.stop()));
  const isClean = exitCodes.every((code) => code === 0);
  if (!isClean) console.log(`Marmot ended with ${exitCodes.join(", ")}\n${nodes.map((n) => n.marmot.log)}`);
  return sayVerdict(nodes, convergedMs) && isClean ? 0 : 1;
}

interface Watching {
  readonly view: LiveView;
  readonly stop: AbortSignal;
}

async function write(
  nodes: readonly DemoNode[],
  { view, seconds, stop }: Watching & { seconds: number },
): Promise<void> {
  for (const node of nodes) node.startWriter(seconds);
  const writing = Promise.all(nodes.map((node) => node.writer?.wait()));
  let isWriting = true;
  writing.then(() => isWriting = false, () => isWriting = false);
  const startedAt = performance.now();
  while (isWriting) {
    view.show(nodes, `writing for ${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
    await Promise.race([writing, delay(PAINT_MS, undefined, { signal: stop })]);
    assertRunning(nodes);
  }
}

/** Returns how long it took from now, when the last application has ended. */
async function converge(nodes: readonly DemoNode[], { view, stop }: Watching): Promise<number> {
  const startedAt = performance.now();
  let paintAt = 0;
  while (!hasConverged(nodes)) {
    const waitedMs = performance.now() - startedAt;
    if (waitedMs > CONVERGE_TIMEOUT_MS) {
      const logs = nodes.map((node) => `node ${node.id}, ${node.readPositions()}\n${node.marmot.log}`);
      throw new Error(
        `The nodes do not come to rest within ${CONVERGE_TIMEOUT_MS / 1000} s\n${logs.join("\n")}`,
      );
    }
    if (waitedMs >= paintAt) {
      view.show(nodes, "the applications have ended, the nodes catch up");
      paintAt = waitedMs + PAINT_MS;
    }
    assertRunning(nodes);
    await delay(POLL_MS, undefined, { signal: stop });
  }
  return performance.now() - startedAt;
}

function assertRunning(nodes: readonly DemoNode[]): void {
  const ended = nodes.find((node) => node.marmot.hasEnded);
  if (ended) throw new Error(`Node ${ended.id} has ended:\n${ended.marmot.log}`);
}

/** Compares the databases, prints the figures, and returns whether all copies are equal and complete. */
function sayVerdict(nodes: readonly DemoNode[], convergedMs: number): boolean {
  new LiveView().show(nodes, "");
  const contents = nodes.map((node) => node.readContent());
  const [first] = contents as [Content];
  const tables = [...first.rows].map(([name, rows]) => [
    name,
    contents.every((content) => content.tables.get(name) === first.tables.get(name)) ? "equal" : "DIFFERENT",
    formatCount(rows),
  ]);
  console.log(formatTable([["table", "copies", "rows"], ...tables]).join("\n") + "\n");
  for (const [i, { sha256 }] of contents.entries()) console.log(`node ${i + 1} content SHA-256 ${sha256}`);

  const lost = findLostFlights(nodes, contents);
  for (const line of lost) console.log(line);
  const isIdentical = contents.every(({ sha256 }) => sha256 === first.sha256);
  const written = nodes.reduce((sum, node) => sum + (node.writer?.written.rows ?? 0), 0);
  const flights = nodes.reduce((sum, node) => sum + (node.writer?.written.flights ?? 0), 0);
  console.log(
    `\n${formatCount(written)} rows written on ${nodes.length} nodes; all were everywhere ${
      (convergedMs / 1000).toFixed(2)
    } s after the last application had ended`,
  );
  if (lost.length === 0) {
    console.log(`all ${formatCount(flights)} flights that were inserted are on every node`);
  }
  console.log(isIdentical ? "VERDICT: identical, byte for byte" : "VERDICT: DIFFERENT");
  return isIdentical && lost.length === 0;
}

/** Nobody else writes a writer's new flights, so each of them must be on every node. */
function findLostFlights(nodes: readonly DemoNode[], contents: readonly Content[]): string[] {
  return nodes.flatMap(({ id, writer }) => {
    const inserted = writer?.written.flights ?? 0;
    return contents.flatMap(({ flightsOfWriter }, i) => {
      const found = flightsOfWriter.get(id) ?? 0;
      if (found === inserted) return [];
      return [`LOST: node ${i + 1} has ${found} of the ${inserted} flights that were inserted on node ${id}`];
    });
  });
}

const { values } = parseArgs({ args: Deno.args, options: { seconds: { type: "string", default: "10" } } });
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
try {
  process.exitCode = await main(Number(values.seconds), stop.signal);
} catch (error) {
  if (stop.signal.aborted) {
    console.log("\ninterrupted, all processes ended, all files removed");
    process.exitCode = INTERRUPTED;
  } else {
    console.error(errorText(error));
    if (error instanceof MarmotError && error.hint !== undefined) console.error(error.hint);
    process.exitCode = 1;
  }
}
// A signal listener would keep the process.
process.removeAllListeners("SIGINT").removeAllListeners("SIGTERM");
