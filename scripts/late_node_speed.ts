/**
 * What it costs to bring a late node up to date from a snapshot while its application writes: a table with three indexes of
 * which every row differs. Tells the time, the rows a second next to plain SQLite writing the same rows in transactions of 250,
 * and how long the application's writes took, with the merge beside them and without.
 *
 *     deno task bench:late-node [--rows 300000]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { NatsServer } from "../tests/support/nats_server.ts";
import { MarmotRun } from "../tests/support/snapshots.ts";
import { MarmotProcess } from "./marmot_process.ts";
import { ensureNatsServer } from "./nats_server.ts";

const SCHEMA = `CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, mail TEXT, at INTEGER);
  CREATE INDEX by_name ON t (name); CREATE INDEX by_mail ON t (mail); CREATE INDEX by_at ON t (at);
  CREATE TABLE beside (id INTEGER PRIMARY KEY);`;
/** One stream of few messages: what is written after the node has gone is trimmed. */
const FLAGS = ["-shards", "1", "-max-log-entries", "50"];
const PAGE = 250;
const WRITE_PAUSE_MS = 4;
const QUIET_MS = 5000;

async function main(rows: number): Promise<void> {
  process.env["NATS_SERVER"] ??= await ensureNatsServer((progress) => console.log(progress));
  await using server = await NatsServer.start();
  const folder = await mkdtemp(join(tmpdir(), "marmot-late-node-"));
  try {
    const paths = [1, 2].map((id) => join(folder, `node ${id}.db`));
    using first = openDatabase(paths[0] ?? "");
    using late = openDatabase(paths[1] ?? "");
    const start = (id: number, flags: readonly string[]) =>
      new MarmotProcess({
        nodeId: id,
        dbPath: paths[id - 1] ?? "",
        natsUrl: server.url,
        folder,
        flags: [...FLAGS, ...flags],
      });
    await using publisher = start(1, ["-enable-snapshot=false"]);
    await publisher.waitUntilReplicating();
    {
      await using before = start(2, ["-enable-snapshot=false"]);
      await before.waitUntilReplicating();
      fill(first, rows, "early");
      await until(() => countRows(late, "early") === rows);
      await before.stop();
    }
    fill(first, rows, "later");
    await until(() => countPending(first) === 0);
    const saved = await new MarmotRun([
      "snapshot",
      "save",
      "-db-path",
      paths[0] ?? "",
      "-nats-url",
      server.url,
    ])
      .ended();
    if (saved.code !== 0) throw new Error(saved.error);
    const plainSeconds = updatePlainly(join(folder, "plain.db"), rows);
    const alone = await watchWrites(late, () => delay(QUIET_MS));
    await using node = start(2, []);
    const beganMs = performance.now();
    const beside = await watchWrites(
      late,
      () => until(() => hasEnded(node) || / INFO {2}ready /.test(node.log)),
    );
    if (node.hasEnded) throw new Error(node.log);
    const seconds = (performance.now() - beganMs) / 1000;
    const merged = Number(/snapshot taken over .*milliseconds=(\d+)/.exec(node.log)?.[1]) / 1000;
    if (countRows(late, "later") !== rows) throw new Error("rows are missing");
    console.log(`${rows} differing rows, three indexes: ready after ${seconds.toFixed(1)} s`);
    console.log(
      `  merged in ${merged.toFixed(1)} s: ${Math.round(rows / merged)} rows/s, ${
        (plainSeconds / merged).toFixed(2)
      } of plain SQLite (${Math.round(rows / plainSeconds)} rows/s)`,
    );
    for (
      const [what, { writes, longestMs, p99Ms }] of Object.entries({ alone, "beside the merge": beside })
    ) {
      console.log(
        `  the application's writes ${what}: ${writes}, p99 ${p99Ms.toFixed(1)} ms, longest ${
          longestMs.toFixed(1)
        } ms`,
      );
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function hasEnded(node: MarmotProcess): boolean {
  return node.hasEnded;
}

function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 10_000 });
  database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; ${SCHEMA}`);
  return database;
}

function fill(database: DatabaseSync, rows: number, name: string): void {
  const insert = database.prepare(
    "WITH RECURSIVE n (i) AS (VALUES (?1) UNION ALL SELECT i + 1 FROM n WHERE i < ?2) " +
      "INSERT OR REPLACE INTO t SELECT i, ?3, ?3 || i || '@example.org', i % 1000 FROM n",
  );
  for (let from = 1; from <= rows; from += 1000) insert.run(from, Math.min(rows, from + 999), name);
}

function updatePlainly(path: string, rows: number): number {
  using database = openDatabase(path);
  fill(database, rows, "early");
  const startMs = performance.now();
  const update = database.prepare(
    "INSERT INTO t VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, mail = excluded.mail, at = excluded.at",
  );
  for (let from = 1; from <= rows; from += PAGE) {
    database.exec("BEGIN");
    for (let id = from; id < from + PAGE && id <= rows; id++) {
      update.run(id, "later", `later${id}@example.org`, id % 1000);
    }
    database.exec("COMMIT");
  }
  return (performance.now() - startMs) / 1000;
}

function countRows(database: DatabaseSync, name: string): number {
  return Number(database.prepare("SELECT count(*) AS n FROM t WHERE name = ?").get(name)?.["n"]);
}

function countPending(database: DatabaseSync): number {
  return Number(
    database.prepare("SELECT count(*) AS n FROM __marmot__change_log WHERE kind <> 3").get()?.["n"],
  );
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(20);
}

interface Writes {
  readonly writes: number;
  readonly longestMs: number;
  readonly p99Ms: number;
}

/** Commits a row every few milliseconds while `work` goes on. */
async function watchWrites(application: DatabaseSync, work: () => Promise<unknown>): Promise<Writes> {
  let isOver = false;
  const done = work().finally(() => isOver = true);
  const insert = application.prepare("INSERT INTO beside DEFAULT VALUES");
  const tookMs: number[] = [];
  while (!isOver) {
    const startMs = performance.now();
    insert.run();
    tookMs.push(performance.now() - startMs);
    await delay(WRITE_PAUSE_MS);
  }
  await done;
  tookMs.sort((a, b) => a - b);
  return {
    writes: tookMs.length,
    longestMs: tookMs.at(-1) ?? 0,
    p99Ms: tookMs[Math.floor(tookMs.length * 0.99)] ?? 0,
  };
}

const at = Deno.args.indexOf("--rows");
const rows = at === -1 ? 300_000 : Number(Deno.args[at + 1]);
if (!Number.isSafeInteger(rows) || rows < 1000) {
  console.error("Usage: deno task bench:late-node [--rows N], N at least 1000");
  process.exitCode = 1;
} else await main(rows);
