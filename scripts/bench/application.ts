/**
 * The benchmark's application: an ordinary program that knows SQLite and nothing of Marmot. It takes orders, a line of
 * JSON each, on stdin and answers each with a line on stdout.
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import type { Answer, Order } from "./application_process.ts";
import { percentile } from "./spread.ts";
import { scattered, type Shape, shapeOf } from "./workload.ts";

/** Waiting for a lock is SQLite's own, as in most applications. */
const BUSY_TIMEOUT_MS = 10_000;
const READS_PER_WRITE = 10;
const ARRIVAL_TIMEOUT_MS = 10_000;
/** A loop without pause would take one of the nodes' cores. */
const POLL_MS = 0.05;
const PROBE_PAUSE_MS = 0.1;

const databases = new Map<string, DatabaseSync>();
const NEVER_WOKEN = new Int32Array(new SharedArrayBuffer(4));

for await (const line of createInterface({ input: process.stdin })) {
  try {
    process.stdout.write(JSON.stringify(await obey(JSON.parse(line) as Order)) + "\n");
  } catch (error) {
    process.stdout.write(JSON.stringify({ error: String(error) }) + "\n");
  }
}
for (const database of databases.values()) database.close();

async function obey(order: Order): Promise<Answer> {
  switch (order.do) {
    case "exec":
      open(order.path).exec(order.sql);
      return {};
    case "close":
      databases.get(order.path)?.close();
      databases.delete(order.path);
      return {};
    case "write":
      return timed(() => write(order));
    case "commit":
      return await commitSteadily(order);
    case "mix":
      return mix(order);
    case "latency":
      return latency(order);
    case "probe":
      return probe(order);
  }
}

function open(path: string): DatabaseSync {
  let database = databases.get(path);
  if (!database) {
    database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    databases.set(path, database);
  }
  return database;
}

function timed(work: () => void): Answer {
  const startedAt = performance.now();
  work();
  return { seconds: (performance.now() - startedAt) / 1000 };
}

/** Writes rows in transactions of `rowsEach`; a single row commits by itself. */
function write(
  { path, shape: name, kind, from, rows, rowsEach, among, marker }: Order & { do: "write" },
): void {
  const database = open(path);
  const one = writer(database, { shape: shapeOf(name), kind });
  for (let done = 0; done < rows; done += rowsEach) {
    if (rowsEach > 1) database.exec("BEGIN IMMEDIATE");
    for (let i = done; i < Math.min(rows, done + rowsEach); i++) {
      one(among === undefined ? from + i : scattered(from + i, among), i);
    }
    if (rowsEach > 1) database.exec("COMMIT");
  }
  if (marker !== undefined) writer(database, { shape: shapeOf(name), kind: "insert" })(marker, 0);
}

function writer(
  database: DatabaseSync,
  { shape, kind }: { shape: Shape; kind: "insert" | "update" | "delete" },
): (id: number, version: number) => void {
  if (kind === "insert") {
    const insert = database.prepare(shape.insert);
    return (id) => void insert.run(...shape.row(id));
  }
  if (kind === "update") {
    const update = database.prepare(shape.update);
    return (id, version) => void update.run(...shape.change(id, version + 1));
  }
  const remove = database.prepare(`DELETE FROM ${shape.table} WHERE id = ?`);
  return (id) => void remove.run(id);
}

/** Commits one row after the other for some time, as fast as it can or so many a second, then a marker. */
async function commitSteadily(
  { path, shape: name, from, seconds, perSecond, marker }: Order & { do: "commit" },
): Promise<Answer> {
  const shape = shapeOf(name);
  const insert = writer(open(path), { shape, kind: "insert" });
  const startedAt = performance.now();
  let rows = 0;
  for (;;) {
    const elapsed = (performance.now() - startedAt) / 1000;
    if (elapsed >= seconds) break;
    const due = perSecond === undefined ? rows + 100 : Math.floor(elapsed * perSecond);
    if (due > rows) { while (rows < due) insert(from + rows++, 0); }
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
  insert(marker, 0);
  return { rows, seconds: (performance.now() - startedAt) / 1000, endedAtMs: nowMs() };
}

/** Commits rows and reads rows in turns for some time, and tells how fast each goes by itself. */
function mix({ path, shape: name, from, seconds }: Order & { do: "mix" }): Answer {
  const shape = shapeOf(name);
  const database = open(path);
  const insert = writer(database, { shape, kind: "insert" });
  const find = database.prepare(`SELECT * FROM ${shape.table} WHERE id = ?`);
  let [writeMs, readMs, longestMs, writes] = [0, 0, 0, 0];
  while (writeMs + readMs < seconds * 1000) {
    const startedAt = performance.now();
    insert(from + writes, 0);
    const writtenAt = performance.now();
    for (let i = 0; i < READS_PER_WRITE; i++) find.get(scattered(writes + i, writes + 1) + from - 1);
    readMs += performance.now() - writtenAt;
    writeMs += writtenAt - startedAt;
    longestMs = Math.max(longestMs, writtenAt - startedAt);
    writes++;
  }
  return {
    writesPerSecond: writes / writeMs * 1000,
    readsPerSecond: writes * READS_PER_WRITE / readMs * 1000,
    longestMs,
  };
}

/** Commits one row here after the other and tells how long each takes to be there. */
function latency(
  { path, there: pathThere, shape: name, from, samples, warmUp, pauseMs }: Order & { do: "latency" },
): Answer {
  const shape = shapeOf(name);
  const insert = writer(open(path), { shape, kind: "insert" });
  const there = open(pathThere);
  const version = there.prepare("PRAGMA data_version");
  const find = there.prepare(`SELECT 1 FROM ${shape.table} WHERE id = ?`);
  const samplesMs: number[] = [];
  for (let i = 0; i < warmUp + samples; i++) {
    // A little random, so that no timer keeps step.
    sleep(pauseMs * (0.7 + 0.6 * Math.random()));
    let before = version.get()?.["data_version"];
    const id = from + i;
    insert(id, 0);
    const committedAt = performance.now();
    for (;;) {
      const now = version.get()?.["data_version"];
      if (now !== before && find.get(id)) break;
      before = now;
      if (performance.now() - committedAt > ARRIVAL_TIMEOUT_MS) throw new Error(`row ${id} does not arrive`);
      sleep(POLL_MS);
    }
    if (i >= warmUp) samplesMs.push(performance.now() - committedAt);
  }
  return { samplesMs };
}

/** Asks for the write lock all the time until a row is there, and tells how long it was not to be had. */
function probe({ path, shape: name, marker }: Order & { do: "probe" }): Answer {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    const isThere = database.prepare(`SELECT 1 FROM ${shapeOf(name).table} WHERE id = ?`);
    const heldMs: number[] = [];
    let heldSince: number | undefined;
    for (let tries = 0;; tries++) {
      const isFree = tryLock(database);
      const now = performance.now();
      if (!isFree) heldSince ??= now;
      else if (heldSince !== undefined) {
        heldMs.push(now - heldSince);
        heldSince = undefined;
      }
      if (isFree && tries % 20 === 0 && isThere.get(marker)) break;
      sleep(PROBE_PAUSE_MS);
    }
    return { longestMs: Math.max(0, ...heldMs), p99Ms: heldMs.length > 0 ? percentile(heldMs, 99) : 0 };
  } finally {
    database.close();
  }
}

function tryLock(database: DatabaseSync): boolean {
  try {
    database.exec("BEGIN IMMEDIATE");
  } catch {
    return false;
  }
  database.exec("ROLLBACK");
  return true;
}

/** Timers of the event loop count whole milliseconds. */
function sleep(ms: number): void {
  Atomics.wait(NEVER_WOKEN, 0, 0, ms);
}

/** Milliseconds since 1970 with fractions, the same in every process of the machine. */
function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
