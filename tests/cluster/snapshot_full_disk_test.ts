/** Disks that fill up while a snapshot is saved or taken: one sentence, nothing left behind, and it works when there is room. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { MarmotProcess } from "../../scripts/marmot_process.ts";
import { Cluster, waitUntil } from "../support/cluster.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { announcedRandom } from "../support/random.ts";
import { SmallDisk } from "../support/small_disk.ts";
import {
  entriesIn,
  rowsOf,
  runSnapshot,
  saveSnapshot,
  temporaryFiles,
  untilEqual,
  untilReady,
} from "../support/snapshots.ts";

const MEGABYTE = 1024 * 1024;
const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const TRIES = 8;
const canMount = await SmallDisk.isPossible("snapshot_full_disk_test.ts");

Deno.test({
  name:
    "a disk that is full, or fills up, while a snapshot is saved is one sentence, and nothing stays there",
  ignore: !canMount,
  fn: async () => {
    await using disk = SmallDisk.mount(110 * MEGABYTE);
    await using cluster = await Cluster.start({ nodes: 0, schema: SCHEMA });
    const node = cluster.addNode({ schema: SCHEMA, folder: disk.folder });
    node.sql(`${rowsOf(30_000_000)}; PRAGMA wal_checkpoint(TRUNCATE)`);
    await node.start();
    const flags = ["-snapshot-url", pathToFileURL(join(cluster.folder, "store")).href];
    disk.fill(20 * MEGABYTE);
    const refused = await saveSnapshot(cluster, node, flags);
    assert.equal(refused.code, 1);
    assert.match(
      refused.error,
      /^marmot: Cannot save a snapshot of ".*": it takes up to \d+ bytes beside the database, \d+ are free\nMake room/,
    );
    let failed: string | undefined;
    for (let tries = 0; failed === undefined; tries++) {
      assert.ok(tries < TRIES, "the disk was never full in the middle of a copy");
      await disk.makeRoom();
      const run = runSnapshot(cluster, ["save"], ["-db-path", node.path, ...flags]);
      while (temporaryFiles(node.path).length === 0 && run.child.exitCode === null) await delay(1);
      const pid = run.child.pid!;
      process.kill(pid, "SIGSTOP");
      disk.fill();
      process.kill(pid, "SIGCONT");
      const { code, error } = await run.ended();
      if (code !== 0) failed = error;
      assert.deepEqual(temporaryFiles(node.path), []);
    }
    assert.match(
      failed,
      /^marmot: Cannot make a snapshot of ".*": there is no room for the copy beside it\n/,
    );
    await disk.makeRoom();
    assert.ok(node.isRunning);
    node.sql("INSERT INTO t VALUES (-1, 'the application goes on')");
    const saved = await saveSnapshot(cluster, node, flags);
    assert.equal(saved.code, 0, saved.error);
  },
});

Deno.test({
  name: "a store whose disk is full is one sentence, and the snapshot before stays",
  ignore: !canMount,
  fn: async () => {
    await using disk = SmallDisk.mount(6 * MEGABYTE);
    await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
    const node = cluster.node(1);
    node.sql("INSERT INTO t VALUES (0, 'small')");
    const folder = join(disk.folder, "store");
    const flags = ["-snapshot-url", pathToFileURL(folder).href];
    const first = await saveSnapshot(cluster, node, flags);
    assert.equal(first.code, 0, first.error);
    const before = await entriesIn(folder);
    node.sql(rowsOf(16_000_000));
    await node.untilPublished({ timeoutMs: 60_000 });
    const { code, error } = await saveSnapshot(cluster, node, flags);
    assert.equal(code, 1);
    assert.match(error, /^marmot: Cannot .* file:.*: no space is left on its disk\n/);
    assert.deepEqual(await entriesIn(folder), before);
    assert.deepEqual(readdirSync(folder).sort(), ["manifest.json", ...before.map(({ object }) => object)]);
    assert.deepEqual(temporaryFiles(node.path), []);
  },
});

Deno.test({
  name: "a disk that is full, or fills up, at a first start ends the node with one sentence, and no file",
  ignore: !canMount,
  fn: async () => {
    await using disk = SmallDisk.mount(64 * MEGABYTE);
    await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
    await using proxy = await FaultProxy.start({
      target: () => cluster.server.port,
      random: announcedRandom("a full disk at a first start"),
    });
    cluster.node(1).sql(rowsOf(24_000_000));
    const saved = await saveSnapshot(cluster, cluster.node(1), ["-json"]);
    assert.equal(saved.code, 0, saved.error);
    const { objectBytes } = JSON.parse(saved.output);
    const dbPath = join(disk.folder, "cold.db");
    const start = () =>
      new MarmotProcess({
        nodeId: 2,
        dbPath,
        natsUrl: `nats://127.0.0.1:${proxy.port}`,
        folder: cluster.folder,
      });
    const assertRefused = async (node: MarmotProcess) => {
      // Sooner than a store would be asked again that has failed.
      await waitUntil(() => node.hasEnded, { timeoutMs: 10_000, what: () => node.log });
      assert.match(
        node.log,
        /^marmot: Cannot (take the snapshot: it needs \d+ bytes|write beside the database: its disk is full)/m,
      );
      assert.doesNotMatch(node.log, /cannot read from the snapshot store/);
      assert.equal(await node.stop(), 1);
      assert.ok(!existsSync(dbPath));
      assert.deepEqual(temporaryFiles(dbPath), []);
      await disk.makeRoom();
    };
    {
      disk.fill(30 * MEGABYTE);
      await using node = start();
      await assertRefused(node);
    }
    // In the middle of the download, and when there is room for no more than that.
    for (const leaveBytes of [0, objectBytes]) {
      proxy.setFault({ bytesPerSecond: 8e6 }, ["down"]);
      await using node = start();
      const downloaded = () =>
        temporaryFiles(dbPath).map((name) => statSync(join(disk.folder, name)).size)[0] ?? 0;
      await waitUntil(() => node.hasEnded || downloaded() > MEGABYTE, {
        timeoutMs: 20_000,
        what: () => node.log,
      });
      disk.fill(leaveBytes);
      proxy.heal();
      await assertRefused(node);
    }
    await using node = start();
    await untilReady(node);
    await untilEqual(cluster, dbPath);
  },
});
