/** Nodes that are killed while they take a snapshot, and while they save one by themselves: started again they complete it. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { MarmotProcess } from "../../scripts/marmot_process.ts";
import { Cluster, waitUntil } from "../support/cluster.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { announcedRandom } from "../support/random.ts";
import {
  entriesIn,
  rowsOf,
  runSnapshot,
  saveSnapshot,
  temporaryFiles,
  untilReady,
} from "../support/snapshots.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE INDEX by_v ON t (v)";
const BYTES = 30_000_000;
/** Slow enough for every stage to be met, as over a network. */
const DOWNLOAD = { bytesPerSecond: 40e6 };
const KILLS = 10;

/** How far a first start is, as the files tell. */
type Stage = "before" | "downloading" | "unpacking" | "prepared" | "in place";
/** Where the kills hit, and how long after the stage has begun at most. */
const TARGETS: readonly [Stage, number][] = [
  ["before", 300],
  ["downloading", 400],
  ["unpacking", 300],
  ["prepared", 60],
  ["in place", 200],
];

function stageOf(dbPath: string): Stage {
  if (existsSync(dbPath)) return "in place";
  const files = temporaryFiles(dbPath).filter((name) => name.endsWith(".tmp"));
  const isPacked = files.some((name) => /\.tmp\.marmot-[^.]+\.tmp$/.test(name));
  const isUnpacked = files.some((name) => !/\.tmp\.marmot-/.test(name));
  if (isPacked) return isUnpacked ? "unpacking" : "downloading";
  return isUnpacked ? "prepared" : "before";
}

const ORDER = TARGETS.map(([stage]) => stage);
const hasReached = (dbPath: string, stage: Stage) => ORDER.indexOf(stageOf(dbPath)) >= ORDER.indexOf(stage);

function removeDatabase(path: string): void {
  for (const end of ["", "-wal", "-shm"]) rmSync(path + end, { force: true });
}

Deno.test("a first start that is killed ten times, in all of its stages, is started again and completes", async () => {
  const random = announcedRandom("kills of a first start");
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  const node = cluster.node(1);
  node.sql(rowsOf(BYTES));
  const saved = await saveSnapshot(cluster, node);
  assert.equal(saved.code, 0, saved.error);
  node.sql("UPDATE t SET v = 'behind the snapshot' WHERE id <= 100; DELETE FROM t WHERE id = 200");
  await using proxy = await FaultProxy.start({ target: () => cluster.server.port, random });
  proxy.setFault(DOWNLOAD, ["down"]);
  const dbPath = join(cluster.folder, "cold.db");
  const start = () =>
    new MarmotProcess({
      nodeId: 2,
      dbPath,
      natsUrl: `nats://127.0.0.1:${proxy.port}`,
      folder: cluster.folder,
    });
  const assertEqual = async () => {
    using database = new DatabaseSync(dbPath, { timeout: 10_000 });
    const sums = [database, node.application].map((each) =>
      each.prepare(
        "SELECT count(*) AS n, sum(length(v)) AS bytes, sum(v = 'behind the snapshot') AS late FROM t",
      )
    );
    const isEqual = () => JSON.stringify(sums[0]!.get()) === JSON.stringify(sums[1]!.get());
    await waitUntil(isEqual, { timeoutMs: 20_000, what: () => JSON.stringify(sums.map((sum) => sum.get())) });
    assert.equal(database.prepare("PRAGMA integrity_check").get()?.["integrity_check"], "ok");
    assert.deepEqual(temporaryFiles(dbPath), []);
  };
  const met = new Map<Stage, number>();
  for (let kill = 0; kill < KILLS; kill++) {
    const [stage, longestMs] = TARGETS[kill % TARGETS.length]!;
    const killed = start();
    while (!hasReached(dbPath, stage) && !killed.hasEnded) await delay(1);
    await delay(random.below(longestMs));
    assert.ok(!killed.hasEnded, killed.log);
    await killed[Symbol.asyncDispose]();
    met.set(stageOf(dbPath), (met.get(stageOf(dbPath)) ?? 0) + 1);
    if (stageOf(dbPath) !== "in place") continue;
    await using again = start();
    await untilReady(again);
    await assertEqual();
    await again[Symbol.asyncDispose]();
    removeDatabase(dbPath);
  }
  console.log(`killed ${[...met].map(([stage, times]) => `${stage} ${times}`).join(", ")}`);
  assert.ok(met.size >= 4, "the kills did not meet all stages");
  await using last = start();
  await untilReady(last);
  await assertEqual();
});

Deno.test("nodes that are killed while they save by themselves leave whole snapshots, and save when they are back", async () => {
  const random = announcedRandom("kills of automatic saves");
  await using cluster = await Cluster.start({ nodes: 0, schema: SCHEMA });
  // Clusters of one node each: all are killed at the same time, and wait for their dead lives' leases together.
  const stores = new Map<number, string>();
  for (let id = 1; id <= 4; id++) {
    const store = join(cluster.folder, `store ${id}`);
    stores.set(id, store);
    const flags = ["-stream-prefix", `marmot-${id}`, "-subject-prefix", `marmot-${id}`];
    const node = cluster.addNode({
      schema: SCHEMA,
      hasSnapshots: true,
      flags: [...flags, "-snapshot-url", pathToFileURL(store).href],
    }, id);
    node.sql(rowsOf(BYTES / 2));
  }
  const namesIn = (folder: string) => existsSync(folder) ? readdirSync(folder) : [];
  const moments: ((id: number) => boolean)[] = [
    (id) => temporaryFiles(cluster.node(id).path).length > 0,
    (id) => namesIn(stores.get(id)!).length > 0,
    (id) => namesIn(stores.get(id)!).some((name) => name.startsWith("snapshot-")),
    (id) => namesIn(stores.get(id)!).includes("manifest.json"),
  ];
  let left = 0;
  await Promise.all(cluster.nodes.map(async (node, i) => {
    await node.start();
    const deadlineMs = Date.now() + 30_000;
    while (!moments[i]!(node.id)) {
      assert.ok(Date.now() < deadlineMs, node.log);
      await delay(1);
    }
    await delay(random.below(30));
    await node.kill();
    left += temporaryFiles(node.path).length;
  }));
  assert.ok(left > 0, "no kill has met a copy at work");
  await Promise.all(cluster.nodes.map(async (node) => {
    const from = node.log.length;
    // Whatever the store offers at this moment can be used.
    for (const { object } of await entriesIn(stores.get(node.id)!)) {
      assert.ok(namesIn(stores.get(node.id)!).includes(object));
    }
    await node.start();
    assert.deepEqual(temporaryFiles(node.path), []);
    await waitUntil(async () => (await entriesIn(stores.get(node.id)!)).length > 0, {
      timeoutMs: 40_000,
      what: () => node.log.slice(from),
    });
    const url = pathToFileURL(stores.get(node.id)!).href;
    const verified = await runSnapshot(cluster, ["verify"], ["-snapshot-url", url]).ended();
    assert.equal(verified.code, 0, verified.output + verified.error);
    assert.ok(node.isRunning);
  }));
});
