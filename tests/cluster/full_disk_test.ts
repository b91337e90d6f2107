/**
 * Disks that fill up: the one under a node's database, and the one under nats-server's store. Each is a tmpfs of a few
 * megabytes that the test mounts, for which it must run as root. (SQLite's max_page_count bounds the connection that sets
 * it, so it is no stand-in beside a running node: tests/db/full_database_test.ts uses it on Marmot's own connection.)
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { SmallDisk } from "../support/small_disk.ts";
import { WRITERS_SCHEMA } from "../support/writers.ts";

const MEGABYTE = 1024 * 1024;
const FULL = /^marmot: Cannot write to the database: its disk is full$/m;
const canMount = await SmallDisk.isPossible("full_disk_test.ts");

/** Inserts rows of 4 kB each; where the disk is full SQLite refuses it, whole. */
function insertRows(node: ClusterNode, { firstId, count }: { firstId: number; count: number }): void {
  node.sql(`WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < ${count - 1})
    INSERT INTO t (id, v) SELECT ${firstId} + x, hex(randomblob(2000)) FROM c`);
}

Deno.test({
  name: "a node whose disk is full ends with a sentence, and goes on without a loss when there is room",
  ignore: !canMount,
  fn: async () => {
    await using disk = SmallDisk.mount(6 * MEGABYTE);
    await using cluster = await Cluster.start({ nodes: 1, schema: WRITERS_SCHEMA });
    const other = cluster.node(1);
    const full = cluster.addNode({ schema: WRITERS_SCHEMA, folder: disk.folder });
    await full.start();
    insertRows(full, { firstId: 1, count: 50 });
    await cluster.converge();
    disk.fill();
    insertRows(other, { firstId: 1_000, count: 300 });
    assert.equal(await full.waitForExit(), 1);
    assert.match(full.log, FULL);
    assert.throws(() => insertRows(full, { firstId: 2_000, count: 300 }), /full|disk I\/O error/);
    // The operator's first try, too early.
    const from = full.log.length;
    await full.start({ isAwaited: false });
    assert.equal(await full.waitForExit(), 1);
    assert.match(full.log.slice(from), FULL);
    insertRows(other, { firstId: 3_000, count: 50 });
    await disk.makeRoom();
    insertRows(full, { firstId: 4_000, count: 50 });
    await full.start();
    const content = await cluster.converge();
    assert.equal(content.get("t")?.split("\n").length, 450);
  },
});

Deno.test({
  name: "changes wait while nats-server's disk is full, and come when it has room and was started again",
  ignore: !canMount,
  fn: async () => {
    await using disk = SmallDisk.mount(16 * MEGABYTE);
    const server = { storeFolder: join(disk.folder, "store") };
    await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA, server });
    const [one, other] = [cluster.node(1), cluster.node(2)];
    insertRows(one, { firstId: 1, count: 50 });
    await cluster.converge();
    disk.fill();
    insertRows(one, { firstId: 1_000, count: 300 });
    insertRows(other, { firstId: 2_000, count: 300 });
    for (const node of cluster.nodes) {
      await node.waitForLog(/ WARN {2}publishing failed, the changes go again/);
    }
    assert.ok(one.countPending() > 0 && other.countPending() > 0);
    await disk.makeRoom();
    // After a failed write nats-server takes no more into that stream before it was started again.
    await cluster.server.restart();
    insertRows(one, { firstId: 3_000, count: 50 });
    const content = await cluster.converge();
    assert.equal(content.get("t")?.split("\n").length, 700);
    for (const node of cluster.nodes) assert.ok(node.isRunning);
    await waitUntil(() => one.countPending() + other.countPending() === 0, {
      timeoutMs: 5_000,
      what: () => "pending",
    });
  },
});
