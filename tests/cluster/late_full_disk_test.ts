/** Disks that fill up under a node that takes a snapshot over: one sentence, nothing lost or left behind, and it catches up once there is room. */
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { announcedRandom } from "../support/random.ts";
import { SmallDisk } from "../support/small_disk.ts";
import { rowsOf, saveSnapshot, temporaryFiles } from "../support/snapshots.ts";

const MEGABYTE = 1024 * 1024;
const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
/** One stream, which keeps few messages. */
const KEPT = 20;
const FLAGS = ["-shards", "1", "-max-log-entries", String(KEPT)];
/** What the snapshot has, and the late node has not. */
const MISSED_ROWS = 8_000;
/** What no sentence is. */
const BROKEN = /defect|disk I\/O error|\n {4}at /;
const canMount = await SmallDisk.isPossible("late_full_disk_test.ts");

interface World extends AsyncDisposable {
  readonly disk: SmallDisk;
  readonly cluster: Cluster;
  readonly first: ClusterNode;
  /** Not running, with changes that it has not published; a snapshot is saved. */
  readonly late: ClusterNode;
}

/** A late node on a disk of its own. */
async function startWorld(): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const disk = stack.use(SmallDisk.mount(48 * MEGABYTE));
  const cluster = stack.use(await Cluster.start({ nodes: 1, schema: SCHEMA, flags: FLAGS }));
  const first = cluster.node(1);
  const late = cluster.addNode({ schema: SCHEMA, folder: disk.folder, flags: FLAGS });
  await late.start();
  first.sql("INSERT INTO t VALUES (-1, 'early'), (-2, 'early')");
  await cluster.converge();
  await late.kill();
  late.sql(
    "UPDATE t SET v = 'of the late node' WHERE id = -1; INSERT INTO t VALUES (-3, 'of the late node')",
  );
  const publish = async (text: string) => {
    first.sql(text);
    await first.untilPublished();
  };
  // In pieces that the stream holds until this node has read them itself.
  const pieceRows = MISSED_ROWS / 8;
  for (let id = 1; id < MISSED_ROWS; id += pieceRows) await publish(rowsOf(pieceRows * 1000, id));
  await publish("UPDATE t SET v = 'later' WHERE id < 0");
  for (let i = 0; i <= KEPT; i++) await publish(`INSERT INTO t VALUES (${10_000 + i}, 'later')`);
  await save(cluster);
  const held = stack.move();
  return { disk, cluster, first, late, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

async function save(cluster: Cluster): Promise<void> {
  const saved = await saveSnapshot(cluster, cluster.node(1));
  assert.equal(saved.code, 0, saved.error);
}

/** Waits until a node says why it stays out of date; it goes on, and no file of the snapshot is left. */
async function assertSaid(late: ClusterNode, sentence: string, from: number): Promise<void> {
  await late.waitForLog(
    new RegExp(
      `WARN  this snapshot cannot be taken over .*reason="${sentence}.*ERROR stream stopped: .*${sentence}`,
      "s",
    ),
    { from },
  );
  assert.doesNotMatch(late.log.slice(from), BROKEN);
  assert.ok(late.isRunning);
  assert.deepEqual(temporaryFiles(late.path), []);
}

/** Waits until all are equal, and looks for what the late node wrote before and meanwhile. */
async function assertEqual({ cluster, first, late }: World): Promise<void> {
  await late.waitForLog(/INFO {2}snapshot taken over /);
  await cluster.converge();
  const own = first.application.prepare("SELECT id, v FROM t WHERE id < 0 ORDER BY id DESC").all();
  assert.deepEqual(own.map((row) => Object.values(row)), [
    [-1, "of the late node"],
    [-2, "later"],
    [-3, "of the late node"],
    [-4, "while it was late"],
  ]);
  assert.deepEqual(temporaryFiles(late.path), []);
}

Deno.test({
  name: "a disk that is full, or fills up, while a late node fetches a snapshot is one sentence, and no file",
  ignore: !canMount,
  fn: async () => {
    await using world = await startWorld();
    const { disk, cluster, late } = world;
    await using proxy = await FaultProxy.start({
      target: () => cluster.server.port,
      random: announcedRandom("a full disk under a late node"),
    });
    const flags = ["-enable-snapshot=true", "-nats-url", `nats://127.0.0.1:${proxy.port}`];
    disk.fill(6 * MEGABYTE);
    await late.start({ flags });
    await assertSaid(late, "Cannot take the snapshot: it needs \\d+ bytes in .*, \\d+ are free", 0);
    late.sql("INSERT INTO t VALUES (-4, 'while it was late')");
    await late.kill();
    await disk.makeRoom();

    const from = late.log.length;
    proxy.setFault({ bytesPerSecond: 2e6 }, ["down"]);
    await late.start({ flags });
    const downloaded = () =>
      temporaryFiles(late.path).map((name) => statSync(join(disk.folder, name)).size)[0] ?? 0;
    await waitUntil(() => downloaded() > MEGABYTE / 2, { timeoutMs: 20_000, what: () => late.log });
    disk.fill();
    proxy.heal();
    await assertSaid(late, "Cannot write beside the database: its disk is full", from);
    await disk.makeRoom();
    assert.equal(await late.stop(), 0);
    await late.start({ flags });
    await assertEqual(world);
  },
});

Deno.test({
  name:
    "a disk that fills up in the middle of a late node's tables is one sentence, and the node goes on once there is room",
  ignore: !canMount,
  fn: async () => {
    await using world = await startWorld();
    const { disk, cluster, late } = world;
    const taken = late.application.prepare(
      `SELECT count(*) AS n FROM t WHERE id BETWEEN 1 AND ${MISSED_ROWS}`,
    );
    const countTaken = () => Number(taken.get()?.["n"]);
    await late.start({ flags: ["-enable-snapshot=true"] });
    // The application leaves the node no more than moments for its transactions.
    late.sql("BEGIN IMMEDIATE");
    const leaveMoment = async () => {
      late.sql("COMMIT");
      await delay(5);
      late.sql("BEGIN IMMEDIATE");
      return countTaken() > 0;
    };
    await waitUntil(leaveMoment, { timeoutMs: 20_000, what: () => late.log });
    assert.ok(countTaken() < MISSED_ROWS, "the snapshot is not taken over yet");
    const from = late.log.length;
    disk.fill();
    late.sql("COMMIT");
    await assertSaid(late, "Cannot write to the database: its disk is full", from);
    assert.ok(countTaken() < MISSED_ROWS);
    // What the snapshot took is free again.
    late.sql("INSERT INTO t VALUES (-4, 'while it was late')");
    await disk.makeRoom();
    // The one that failed is tried again after half a minute, another one at once.
    await save(cluster);
    await assertEqual(world);
  },
});
