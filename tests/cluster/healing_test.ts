/**
 * Brokers that lose what they had acknowledged: streams deleted under running nodes, and stores put back from an older
 * copy. The nodes say so, publish again what they wrote themselves, and end equal; a node that comes later reads it all.
 */
import assert from "node:assert/strict";
import { jetstreamManager } from "@nats-io/jetstream";
import { join } from "node:path";
import { connectToNats } from "../../src/stream/socket_transport.ts";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { announcedRandom } from "../support/random.ts";
import { Writers, WRITERS_SCHEMA } from "../support/writers.ts";

const MADE_ANEW = /made anew/;
const ROLLED_BACK = /rolled back/;

async function deleteStreams(cluster: Cluster): Promise<number> {
  const connection = await connectToNats({ servers: `127.0.0.1:${cluster.server.port}` });
  try {
    const { streams } = await jetstreamManager(connection);
    let deleted = 0;
    for await (const name of streams.names()) {
      if (name.startsWith("marmot-changes-") && await streams.delete(name)) deleted++;
    }
    return deleted;
  } finally {
    await connection.close();
  }
}

/** Rows by hand, of which the test knows what they are to be. */
function insertRows(
  node: ClusterNode,
  { firstId, count, text }: { firstId: number; count: number; text: string },
): void {
  for (let id = firstId; id < firstId + count; id++) {
    node.sql(`INSERT INTO t (id, v) VALUES (${id}, '${text} ${id}')`);
  }
}

/** A node that was not there before reads the streams from their first message and holds what the others hold. */
async function assertNewNodeReadsAll(cluster: Cluster): Promise<void> {
  await cluster.addNode({ schema: WRITERS_SCHEMA }).start();
  await cluster.converge({ timeoutMs: 60_000 });
}

function assertSaid(cluster: Cluster, pattern: RegExp, from: readonly number[] = []): void {
  for (const [i, node] of cluster.nodes.entries()) {
    assert.ok(node.isRunning, `node ${node.id} ended by itself:\n${node.log.slice(-2000)}`);
    assert.match(node.log.slice(from[i] ?? 0), pattern, `node ${node.id} does not say what happened`);
  }
}

Deno.test("streams deleted under running nodes are made anew, and nothing that was written is lost", async () => {
  const random = announcedRandom("streams deleted");
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  await using writers = new Writers(cluster.nodes, { perNode: 2, random });
  await writers.progress(50);
  assert.equal(await deleteStreams(cluster), 8);
  await writers.progress(100);
  for (const node of cluster.nodes) await node.waitForLog(MADE_ANEW);
  await writers.progress(50);
  await writers.stop();
  await cluster.converge({ timeoutMs: 60_000 });
  assert.deepEqual(writers.findLoss(cluster), []);
  assertSaid(cluster, MADE_ANEW);
  await assertNewNodeReadsAll(cluster);
  assert.deepEqual(writers.findLoss(cluster), []);
});

Deno.test("a broker restored from an older store gets back what the nodes wrote since, though nobody writes any more", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  const [one, other] = [cluster.node(1), cluster.node(2)];
  const copy = join(cluster.folder, "older store");
  insertRows(one, { firstId: 1_000, count: 30, text: "before" });
  await cluster.converge();
  await cluster.server.stop();
  await cluster.server.copyStore(copy);
  await cluster.server.restart();
  insertRows(one, { firstId: 2_000, count: 30, text: "lost by the broker" });
  insertRows(other, { firstId: 3_000, count: 30, text: "lost by the broker" });
  other.sql(
    "DELETE FROM t WHERE id < 1010; UPDATE t SET v = 'changed, and lost by the broker' WHERE id = 1020",
  );
  await cluster.converge();
  await cluster.server.stop();
  await cluster.server.restoreStore(copy);
  await cluster.server.restart();
  for (const node of cluster.nodes) await node.waitForLog(ROLLED_BACK);
  const content = await cluster.converge();
  assert.equal(content.get("t")?.split("\n").length, 80);
  assertSaid(cluster, ROLLED_BACK);
  await assertNewNodeReadsAll(cluster);
});

Deno.test("a broker whose new messages have overtaken the lost ones is found out by the node that comes later", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  const [one, other] = [cluster.node(1), cluster.node(2)];
  const copy = join(cluster.folder, "older store");
  insertRows(one, { firstId: 1_000, count: 20, text: "before" });
  await cluster.converge();
  await cluster.server.stop();
  await cluster.server.copyStore(copy);
  await cluster.server.restart();
  insertRows(one, { firstId: 2_000, count: 20, text: "lost by the broker" });
  insertRows(other, { firstId: 3_000, count: 20, text: "lost by the broker" });
  await cluster.converge();
  await other.kill();
  await cluster.server.stop();
  await cluster.server.restoreStore(copy);
  await cluster.server.restart();
  await one.waitForLog(ROLLED_BACK);
  // Far more than were lost: the cursor of the other node stands in the middle of them.
  for (let i = 0; i < 120; i++) {
    insertRows(one, { firstId: 4_000 + i, count: 1, text: "overtaking" });
    if (i % 10 === 9) {
      await waitUntil(() => one.countPending() === 0, {
        timeoutMs: 20_000,
        what: () => one.log.slice(-3000),
      });
    }
  }
  insertRows(other, { firstId: 5_000, count: 5, text: "while the node was down" });
  await other.start();
  await other.waitForLog(ROLLED_BACK);
  const content = await cluster.converge();
  assert.equal(content.get("t")?.split("\n").length, 20 + 40 + 120 + 5);
  assertSaid(cluster, ROLLED_BACK);
  await assertNewNodeReadsAll(cluster);
});

Deno.test("a broker killed under load that comes back without its last second loses nothing of the nodes", async () => {
  const random = announcedRandom("a second lost");
  await using cluster = await Cluster.start({ nodes: 3, schema: WRITERS_SCHEMA });
  await using writers = new Writers(cluster.nodes, { perNode: 1, random });
  for (let round = 1; round <= 3; round++) {
    const copy = join(cluster.folder, `store ${round}`);
    const from = cluster.nodes.map((node) => node.log.length);
    await writers.progress(30);
    // As a power cut does: what was acknowledged since this moment is not on the disk.
    await cluster.server.pause();
    await cluster.server.copyStore(copy);
    cluster.server.resume();
    await writers.progress(30 + random.below(60));
    await cluster.server.kill();
    await cluster.server.restoreStore(copy);
    await writers.progress(random.below(30));
    await cluster.server.restart();
    await writers.progress(30);
    await waitUntil(() => cluster.nodes.every((node, i) => ROLLED_BACK.test(node.log.slice(from[i] ?? 0))), {
      timeoutMs: 30_000,
      what: () => cluster.nodes.map((node, i) => node.log.slice(from[i] ?? 0).slice(-2000)).join("\n---\n"),
    });
  }
  await writers.stop();
  await cluster.converge({ timeoutMs: 60_000 });
  assert.deepEqual(writers.findLoss(cluster), []);
  assertSaid(cluster, ROLLED_BACK);
  await assertNewNodeReadsAll(cluster);
});
