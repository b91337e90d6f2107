/**
 * What a snapshot costs, next to a plain copy of the file with fsync in the same run: MB/s of saving and of a cold start,
 * the peak memory of each process, and the longest commit of an application beside it. What the two large steps of a save
 * take alone, VACUUM INTO and Zstandard at its fastest level on one thread, is the bound of what it can reach.
 *
 *     deno task bench:snapshot [--mebibytes 100,1024]
 */
import {
  closeSync,
  copyFileSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import * as zlib from "node:zlib";
import { NatsServer } from "../tests/support/nats_server.ts";
import { MarmotRun } from "../tests/support/snapshots.ts";
import { type Commits, CommitWatch } from "./commit_watch.ts";
import { MarmotProcess } from "./marmot_process.ts";

const ROW_BYTES = 1000;
const MEBIBYTE = 1024 * 1024;
const COPIES = 3;
/** The streams trim nothing while the application writes. */
const KEEP_ALL = ["-max-log-entries", "1000000"];
/** How long the application is watched alone. */
const ALONE_MS = 3000;
const POLL_MS = 10;
const READY_MS = 600_000;

interface Measured {
  readonly seconds: number;
  /** Highest resident memory; undefined where the system does not tell. */
  readonly peakMiB: number | undefined;
}

class Report {
  readonly #sizeBytes: number;
  readonly #copySeconds: number;

  constructor(sizeBytes: number, copySeconds: number) {
    this.#sizeBytes = sizeBytes;
    this.#copySeconds = copySeconds;
  }

  say(what: string, { seconds, peakMiB }: Measured): void {
    const speed = (this.#sizeBytes / 1e6 / seconds).toFixed(0);
    const share = (this.#copySeconds / seconds).toFixed(2);
    const memory = peakMiB === undefined ? "" : `, peak memory ${peakMiB.toFixed(0)} MiB`;
    console.log(`  ${what}: ${seconds.toFixed(2)} s, ${speed} MB/s, ${share} of the plain copy${memory}`);
  }

  sayCommits(when: string, { count, longestMs }: Commits): void {
    console.log(`  the longest of ${count} commits ${when}: ${longestMs.toFixed(1)} ms`);
  }
}

async function main(mebibytes: number): Promise<void> {
  await using server = await NatsServer.start();
  const folder = await mkdtemp(join(tmpdir(), "marmot-snapshot-speed-"));
  try {
    const dbPath = join(folder, "node 1.db");
    makeDatabase(dbPath, mebibytes);
    const flags = [...KEEP_ALL, "-enable-snapshot=false"];
    await using node = new MarmotProcess({ nodeId: 1, dbPath, natsUrl: server.url, folder, flags });
    await node.waitUntilReplicating();
    const report = measureAlone(dbPath, join(folder, "copy.db"));
    await using application = new CommitWatch(dbPath, "beside");
    await application.commits();
    await delay(ALONE_MS);
    report.sayCommits("without a save", await application.commits());
    const folderUrl = `file://${join(folder, "store")}`;
    for (const [nodeId, store, url] of [[2, "a folder", folderUrl], [3, "NATS", "nats://"]] as const) {
      const place = ["-nats-url", server.url, "-snapshot-url", url];
      await application.commits();
      report.say(`save into ${store}`, await measureSave(["-db-path", dbPath, ...place]));
      report.sayCommits("during the save", await application.commits());
      const cold = { nodeId, dbPath: join(folder, "cold.db"), natsUrl: server.url, folder };
      const measured = await measureColdStart({ ...cold, flags: [...KEEP_ALL, "-snapshot-url", url] });
      report.say(`cold start from ${store}, to "ready"`, measured);
      for (const end of ["", "-wal", "-shm"]) rmSync(cold.dbPath + end, { force: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Half of each row is random, half is text that compresses. */
function makeDatabase(path: string, mebibytes: number): void {
  using database = new DatabaseSync(path);
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
  database.exec(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB, b TEXT); CREATE TABLE beside (id INTEGER PRIMARY KEY)",
  );
  const rows = Math.round(mebibytes * MEBIBYTE / ROW_BYTES);
  database.exec(
    `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) ` +
      "INSERT INTO t SELECT i, randomblob(480), printf('%0480d', i) FROM n; PRAGMA wal_checkpoint(TRUNCATE)",
  );
}

/** The plain copy, and the steps of a save each by itself. Before an application writes: it is copied without SQLite. */
function measureAlone(dbPath: string, to: string): Report {
  const copies = Array.from({ length: COPIES }, () => timed(to, () => copyWithSync(dbPath, to)));
  const copySeconds = copies.toSorted((a, b) => a - b)[COPIES >> 1]!;
  const sizeBytes = statSync(dbPath).size;
  console.log(`${(sizeBytes / 1e6).toFixed(0)} MB`);
  const report = new Report(sizeBytes, copySeconds);
  const say = (what: string, seconds: number) => report.say(what, { seconds, peakMiB: undefined });
  say(`plain copy with fsync, the middle of ${COPIES}`, copySeconds);
  say("VACUUM INTO alone", timed(to, () => vacuumInto(dbPath, to)));
  copyFileSync(dbPath, to);
  say("Zstandard alone", timed(to, () => compressAll(to)));
  return report;
}

/** In seconds; the file that the work makes is removed. */
function timed(path: string, work: () => void): number {
  const startMs = performance.now();
  work();
  const seconds = (performance.now() - startMs) / 1000;
  rmSync(path, { force: true });
  return seconds;
}

function copyWithSync(from: string, to: string): void {
  copyFileSync(from, to);
  const file = openSync(to, "r+");
  fsyncSync(file);
  closeSync(file);
}

function vacuumInto(from: string, to: string): void {
  using database = new DatabaseSync(from, { readOnly: true });
  database.exec("PRAGMA synchronous = OFF");
  database.prepare("VACUUM INTO ?").run(to);
}

function compressAll(path: string): void {
  const options = { params: { [zlib.constants.ZSTD_c_compressionLevel]: 1 } };
  const chunk = new Uint8Array(MEBIBYTE);
  const file = openSync(path, "r");
  for (let length = readSync(file, chunk); length > 0; length = readSync(file, chunk)) {
    zlib.zstdCompressSync(chunk.subarray(0, length), options);
  }
  closeSync(file);
}

async function measureSave(flags: readonly string[]): Promise<Measured> {
  return await measure(() => {
    const run = new MarmotRun(["snapshot", "save", ...flags]);
    return { pid: run.child.pid ?? 0, ended: run.ended().then(({ code, error }) => assertDone(code, error)) };
  });
}

async function measureColdStart(
  options: ConstructorParameters<typeof MarmotProcess>[0],
): Promise<Measured> {
  await using cold = new MarmotProcess(options);
  return await measure(() => ({ pid: cold.pid, ended: untilReady(cold) }));
}

async function measure(start: () => { pid: number; ended: Promise<void> }): Promise<Measured> {
  const startMs = performance.now();
  const { pid, ended } = start();
  let isOver = false;
  const done = ended.finally(() => isOver = true);
  let peakMiB: number | undefined;
  while (!isOver) {
    peakMiB = readPeakMiB(pid) ?? peakMiB;
    await Promise.race([delay(POLL_MS), done]);
  }
  await done;
  return { seconds: (performance.now() - startMs) / 1000, peakMiB };
}

async function untilReady(node: MarmotProcess): Promise<void> {
  const deadlineMs = performance.now() + READY_MS;
  while (!/ INFO {2}ready /.test(node.log)) {
    if (node.hasEnded || performance.now() > deadlineMs) throw new Error(node.log);
    await delay(POLL_MS);
  }
}

/** Source: proc_pid_status(5), VmHWM. */
function readPeakMiB(pid: number): number | undefined {
  try {
    const kibibytes = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kibibytes === undefined ? undefined : Number(kibibytes) / 1024;
  } catch {
    // Gone, or a system without /proc.
    return undefined;
  }
}

function assertDone(code: number | null, error: string): void {
  if (code !== 0) throw new Error(error);
}

const at = Deno.args.indexOf("--mebibytes");
const sizes = (at === -1 ? "100,1024" : Deno.args[at + 1] ?? "").split(",").map(Number);
if (!sizes.every((mebibytes) => mebibytes > 0)) {
  console.error("Usage: deno task bench:snapshot [--mebibytes 100,1024]");
  process.exitCode = 2;
} else {
  for (const mebibytes of sizes) await main(mebibytes);
}
