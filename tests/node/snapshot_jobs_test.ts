/** The jobs of snapshots in real Workers: what comes back, and that the event loop goes on meanwhile. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { writeFile as writeFileAsync } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MarmotError } from "../../src/errors.ts";
import { packInWorker } from "../../src/node/snapshot/worker_frames.ts";
import { doInWorker } from "../../src/node/snapshot/worker_jobs.ts";
import {
  DamagedSnapshotError,
  FilePacker,
  type PackedFacts,
  sumFile,
} from "../../src/snapshot/packed_file.ts";
import { TestReplica } from "../db/test_replica.ts";

const never = new AbortController().signal;
const ROWS = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 40000) " +
  "INSERT INTO t SELECT i, hex(randomblob(250)) FROM n";

function madeWorld(rows = "INSERT INTO t VALUES (1, 'one')"): TestReplica {
  const world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  world.arm();
  world.application.exec(rows);
  return world;
}

/** Makes the object of a file, as a save does. */
async function pack(from: string, to: string): Promise<PackedFacts> {
  const packer = new FilePacker(packInWorker(from));
  await writeFileAsync(to, packer.content());
  const { fileBytes, ...object } = packer.facts();
  const database = sumFile(from);
  assert.equal(fileBytes, database.databaseBytes);
  return { ...object, ...database };
}

Deno.test("a copy of 20 MB is made, packed and unpacked without holding up the event loop", async () => {
  using world = madeWorld(ROWS);
  const [copy, packed, back] = ["copy", "packed", "back"].map((name) => `${world.path}.${name}`) as [
    string,
    string,
    string,
  ];
  let longestMs = 0;
  let lastMs = performance.now();
  const timer = setInterval(() => {
    longestMs = Math.max(longestMs, performance.now() - lastMs);
    lastMs = performance.now();
  }, 1);
  const startMs = performance.now();
  try {
    const facts = await doInWorker("copy", { from: world.path, to: copy }, never);
    assert.equal(facts.pending, 40000);
    const sums = await pack(copy, packed);
    assert.ok(sums.objectBytes < 0.7 * sums.databaseBytes, JSON.stringify(sums));
    await doInWorker("unpack", { from: packed, to: back, facts: sums }, never);
  } finally {
    clearInterval(timer);
  }
  const tookMs = performance.now() - startMs;
  assert.deepEqual(readFileSync(back), readFileSync(copy));
  assert.ok(longestMs < tookMs / 2, `held up for ${longestMs} of ${tookMs} ms`);
});

Deno.test("errors keep their class, code and hint on the way out of a Worker", async () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  await assert.rejects(
    doInWorker("copy", { from: world.path, to: `${world.path}.copy` }, never),
    (error) =>
      error instanceof MarmotError && error.code === "snapshot" && /Start Marmot/.test(error.hint ?? ""),
  );
  await assert.rejects(
    doInWorker("inspect", { from: world.path, copy: join(world.path, "no folder", "x") }, never),
    (error) => error instanceof MarmotError && /there is no such file/.test(error.message),
  );
});

Deno.test("an object that is cut, has a bit flipped, is no object or holds something else is refused as damaged", async () => {
  using world = madeWorld(ROWS.replace("40000", "2000"));
  const packed = `${world.path}.packed`;
  const copy = `${world.path}.copy`;
  await doInWorker("copy", { from: world.path, to: copy }, never);
  const facts = await pack(copy, packed);
  const whole = readFileSync(packed);
  const flipped = whole.slice();
  flipped[whole.length >> 1]! ^= 1;
  const cases: Record<string, Uint8Array> = {
    flipped,
    cut: whole.subarray(0, whole.length >> 1),
    "cut by a byte": whole.subarray(0, -1),
    empty: new Uint8Array(0),
    "no Zstandard": new Uint8Array(5000).fill(7),
    twice: new Uint8Array([...whole, ...whole]),
  };
  for (const [what, bytes] of Object.entries(cases)) {
    const [from, to] = [`${world.path}.bad`, `${world.path}.back`];
    writeFileSync(from, bytes);
    await doInWorker("unpack", { from, to, facts }, never).then(
      () => {
        // The last bytes are the checksum of the frame: the content may be whole all the same.
        assert.ok(what === "cut by a byte" || what === "twice", what);
        assert.deepEqual(readFileSync(to), readFileSync(copy));
      },
      (error) => assert.ok(error instanceof DamagedSnapshotError, `${what}: ${error}`),
    );
    rmSync(to, { force: true });
  }
});

Deno.test("a database whose pages are damaged is refused though its sums are right", async () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-jobs-"));
  try {
    const [path, packed, back] = ["a.db", "a.packed", "back.db"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    {
      using database = new DatabaseSync(path);
      database.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE INDEX i ON t (v)");
      database.exec(ROWS.replace("40000", "500"));
    }
    const bytes = readFileSync(path);
    bytes.fill(0x55, 3 * 4096 + 100, 4 * 4096);
    writeFileSync(path, bytes);
    const facts = await pack(path, packed);
    await assert.rejects(
      doInWorker("unpack", { from: packed, to: back, facts }, never),
      (error) => error instanceof DamagedSnapshotError && /its database is damaged/.test(error.message),
    );
    assert.ok(!existsSync(back));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Deno.test("a job is given up when its signal aborts", async () => {
  using world = madeWorld(ROWS);
  const stop = new AbortController();
  const job = doInWorker("copy", { from: world.path, to: `${world.path}.copy` }, stop.signal);
  stop.abort(new Error("stopped"));
  await assert.rejects(job, /stopped/);
});
