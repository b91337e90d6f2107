/**
 * What a snapshot costs, next to a plain copy of the file with fsync in the same run: MB/s of saving and of a cold start,
 * the peak memory of each process, and how long an application's write was held up at most while it was saved.
 *
 *     deno task bench:snapshot [--megabytes 100]
 */
import { closeSync, copyFileSync, fsyncSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { NatsServer } from "../tests/support/nats_server.ts";
import { MarmotRun } from "../tests/support/snapshots.ts";
import { MarmotProcess } from "./marmot_process.ts";

const ROW_BYTES = 1000;
const POLL_MS = 5;

interface Measured {
  readonly seconds: number;
  /** Highest resident memory; undefined where the system does not tell. */
  readonly peakMb: number | undefined;
}

async function main(megabytes: number): Promise<void> {
  await using server = await NatsServer.start();
  const folder = await mkdtemp(join(tmpdir(), "marmot-snapshot-speed-"));
  try {
    const dbPath = join(folder, "node 1.db");
    using application = makeDatabase(dbPath, megabytes);
    const flags = ["-enable-snapshot=false"];
    await using node = new MarmotProcess({ nodeId: 1, dbPath, natsUrl: server.url, folder, flags });
    await node.waitUntilReplicating();
    const sizeMb = statSync(dbPath).size / 1e6;
    const copySeconds = copyWithSync(dbPath, join(folder, "copy.db"));
    report("plain copy with fsync", { seconds: copySeconds, peakMb: undefined }, { sizeMb, copySeconds });
    for (const url of [`file://${join(folder, "store")}`, "nats://"]) {
      const store = url === "nats://" ? "NATS" : "a folder";
      const place = ["-nats-url", server.url, "-snapshot-url", url];
      const longest = watchWrites(application);
      const saved = await measure(() => {
        const run = new MarmotRun(["snapshot", "save", "-db-path", dbPath, ...place]);
        return {
          pid: run.child.pid ?? 0,
          ended: run.ended().then(({ code, error }) => assertDone(code, error)),
        };
      });
      report(`save into ${store}`, saved, { sizeMb, copySeconds });
      console.log(`  longest write of the application meanwhile: ${(await longest.stop()).toFixed(1)} ms`);
      const coldPath = join(folder, "cold.db");
      const started = await measure(() => {
        const cold = new MarmotProcess({
          nodeId: 2,
          dbPath: coldPath,
          natsUrl: server.url,
          folder,
          flags: ["-snapshot-url", url],
        });
        return { pid: cold.pid, ended: untilReady(cold) };
      });
      report(`cold start from ${store}, to "ready"`, started, { sizeMb, copySeconds });
      for (const end of ["", "-wal", "-shm"]) rmSync(coldPath + end, { force: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Half of each row is random, half is text that compresses. */
function makeDatabase(path: string, megabytes: number): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 10_000 });
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
  database.exec(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB, b TEXT); CREATE TABLE beside (id INTEGER PRIMARY KEY)",
  );
  const rows = Math.round(megabytes * 1e6 / ROW_BYTES);
  database.exec(
    `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) ` +
      "INSERT INTO t SELECT i, randomblob(480), printf('%0480d', i) FROM n; PRAGMA wal_checkpoint(TRUNCATE)",
  );
  return database;
}

function copyWithSync(from: string, to: string): number {
  const startMs = performance.now();
  copyFileSync(from, to);
  const file = openSync(to, "r+");
  fsyncSync(file);
  closeSync(file);
  return (performance.now() - startMs) / 1000;
}

/** Writes a row every few milliseconds, and tells how long the slowest took. */
function watchWrites(application: DatabaseSync): { stop(): Promise<number> } {
  let isOver = false;
  let longestMs = 0;
  const insert = application.prepare("INSERT INTO beside DEFAULT VALUES");
  const writing = (async () => {
    while (!isOver) {
      const startMs = performance.now();
      insert.run();
      longestMs = Math.max(longestMs, performance.now() - startMs);
      await delay(POLL_MS);
    }
  })();
  return {
    stop: async () => {
      isOver = true;
      await writing;
      return longestMs;
    },
  };
}

async function measure(start: () => { pid: number; ended: Promise<void> }): Promise<Measured> {
  const startMs = performance.now();
  const { pid, ended } = start();
  let isOver = false;
  const done = ended.finally(() => isOver = true);
  let peakMb: number | undefined;
  while (!isOver) {
    peakMb = readPeakMb(pid) ?? peakMb;
    await Promise.race([delay(POLL_MS), done]);
  }
  await done;
  return { seconds: (performance.now() - startMs) / 1000, peakMb };
}

async function untilReady(node: MarmotProcess): Promise<void> {
  while (!/ INFO {2}ready /.test(node.log)) {
    if (node.hasEnded) throw new Error(node.log);
    await delay(POLL_MS);
  }
  await node.stop();
}

/** Source: proc_pid_status(5), VmHWM. */
function readPeakMb(pid: number): number | undefined {
  try {
    const kilobytes = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) / 1000;
  } catch {
    // Gone, or a system without /proc.
    return undefined;
  }
}

function assertDone(code: number | null, error: string): void {
  if (code !== 0) throw new Error(error);
}

function report(
  what: string,
  { seconds, peakMb }: Measured,
  { sizeMb, copySeconds }: { sizeMb: number; copySeconds: number },
): void {
  const share = copySeconds / seconds;
  const memory = peakMb === undefined ? "" : `, peak memory ${peakMb.toFixed(0)} MB`;
  const speed = `${(sizeMb / seconds).toFixed(0)} MB/s (${share.toFixed(2)} of the plain copy)`;
  console.log(`${what}: ${sizeMb.toFixed(0)} MB in ${seconds.toFixed(2)} s, ${speed}${memory}`);
}

const at = Deno.args.indexOf("--megabytes");
const megabytes = at === -1 ? 100 : Number(Deno.args[at + 1]);
if (!(megabytes > 0)) {
  console.error("Usage: deno task bench:snapshot [--megabytes 100]");
  process.exitCode = 2;
} else await main(megabytes);
