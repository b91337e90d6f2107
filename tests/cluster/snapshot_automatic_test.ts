/** Automatic saves on real processes: a new node joins without anybody having saved by hand. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { Cluster, waitUntil } from "../support/cluster.ts";
import { coldNode, runSnapshot, untilEqual, untilReady } from "../support/snapshots.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (-1, 'there before Marmot')";
/** One stream that keeps few messages: snapshots must keep up with it. */
const SHORT = ["-shards", "1", "-max-log-entries", "40"];

Deno.test("the first snapshot comes by itself, and a switch turns that off", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, hasSnapshots: true });
  const saved = () => cluster.nodes.map((node) => node.log.match(/INFO {2}snapshot saved/g)?.length ?? 0);
  await waitUntil(() => saved().includes(1), { timeoutMs: 20_000, what: () => cluster.node(1).log });
  await delay(3000);
  assert.deepEqual(saved().sort(), [0, 1], "one node saves, once");
  await using off = await Cluster.start({ nodes: 1, schema: SCHEMA });
  await off.node(1).waitForLog(/INFO {2}ready/);
  await delay(4000);
  assert.doesNotMatch(off.node(1).log, /snapshot/);
  const listed = await runSnapshot(off, ["list"]).ended();
  assert.equal(listed.output, "There is no snapshot in NATS bucket marmot-changes-snapshot-store.\n");
});

Deno.test("streams that keep little are covered by snapshots all the time, so a new node can join whenever it comes", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, hasSnapshots: true, flags: SHORT });
  const node = cluster.node(1);
  await node.waitForLog(/INFO {2}snapshot saved/);
  let id = 0;
  const writing = setInterval(() => node.sql(`INSERT INTO t VALUES (${++id}, 'row ${id}')`), 25);
  using _end = { [Symbol.dispose]: () => clearInterval(writing) };
  await node.waitForLog(/INFO {2}publishing waits for a snapshot/, { timeoutMs: 30_000 });
  await node.waitForLog(/INFO {2}publishing goes on: a new snapshot is there/, { timeoutMs: 30_000 });
  await using second = coldNode(cluster, 2, SHORT);
  await untilReady(second);
  clearInterval(writing);
  await untilEqual(cluster, second.path);
  assert.doesNotMatch(node.log, /goes on without a snapshot/);
});
