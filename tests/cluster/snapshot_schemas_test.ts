/** Nodes that begin with a snapshot whose schema is not that of their application: older, or newer. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { Cluster } from "../support/cluster.ts";
import { coldNode, saveSnapshot, untilEqual, untilReady } from "../support/snapshots.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const MIGRATION = "ALTER TABLE t ADD COLUMN extra; CREATE TABLE later (id INTEGER PRIMARY KEY, v)";
const AFTER =
  "INSERT INTO t (id, v, extra) VALUES (2, 'two', 'new column'); INSERT INTO later VALUES (1, 'x')";

Deno.test("a snapshot of before a migration: what came behind it waits for the application to migrate, then all is there", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA });
  cluster.node(1).sql("INSERT INTO t VALUES (1, 'one')");
  const saved = await saveSnapshot(cluster, cluster.node(1));
  assert.equal(saved.code, 0, saved.error);
  for (const node of cluster.nodes) node.sql(MIGRATION);
  cluster.node(1).sql(AFTER);
  cluster.node(2).sql("UPDATE t SET extra = 'of the other' WHERE id = 1");
  await cluster.converge();
  await using third = coldNode(cluster, 3);
  await untilReady(third);
  using application = new DatabaseSync(third.path, { timeout: 10_000 });
  assert.equal(application.prepare("SELECT v FROM t WHERE id = 1").get()?.["v"], "one");
  // Beside what is parked the node goes on with its own work.
  application.exec("INSERT INTO t (id, v) VALUES (3, 'by the old application')");
  application.exec(MIGRATION);
  await untilEqual(cluster, third.path);
  assert.equal(application.prepare("SELECT extra FROM t WHERE id = 2").get()?.["extra"], "new column");
  assert.equal(application.prepare("SELECT v FROM later").get()?.["v"], "x");
  // Nothing of that stands in the way of the next snapshot.
  const again = await saveSnapshot(cluster, cluster.node(2));
  assert.equal(again.code, 0, again.error);
});

Deno.test("a snapshot of after a migration brings its schema along, and an application that is behind goes on with it", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA });
  for (const node of cluster.nodes) node.sql(MIGRATION);
  cluster.node(1).sql(AFTER);
  await cluster.converge();
  const saved = await saveSnapshot(cluster, cluster.node(1));
  assert.equal(saved.code, 0, saved.error);
  await using third = coldNode(cluster, 3);
  await untilReady(third);
  using application = new DatabaseSync(third.path, { timeout: 10_000 });
  application.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v)");
  application.exec("INSERT INTO t (id, v) VALUES (7, 'by the old application')");
  await untilEqual(cluster, third.path);
  assert.equal(
    cluster.node(2).application.prepare("SELECT v FROM t WHERE id = 7").get()?.["v"],
    "by the old application",
  );
  assert.throws(() => application.exec(MIGRATION), /duplicate column/);
});
