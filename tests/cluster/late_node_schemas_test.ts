/** Late nodes whose schema is not that of the snapshot that they take over: it has more than theirs, or less. */
import assert from "node:assert/strict";
import { Cluster, type ClusterNode } from "../support/cluster.ts";
import { saveSnapshot } from "../support/snapshots.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const COLUMN = "ALTER TABLE t ADD COLUMN extra DEFAULT 'none'";
const TABLE = "CREATE TABLE later (id INTEGER PRIMARY KEY, v)";
/** A stream that keeps few messages. */
const SHORT = ["-shards", "1", "-max-log-entries", "20"];
const KEPT = 20;

/** Writes until the server has trimmed what a node that is away has not read. */
async function writePastRetention(node: ClusterNode, write: (i: number) => string): Promise<void> {
  for (let i = 0; i < KEPT + 10; i++) {
    node.sql(write(i));
    // A message of its own.
    await node.untilPublished();
  }
}

function rowsOf(node: ClusterNode, select: string): unknown[][] {
  return node.application.prepare(select).all().map((row) => Object.values(row));
}

Deno.test("a late node that lacks a column and a table of the snapshot says so, captures, and catches up once it has them", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: SHORT });
  const [first, late] = [cluster.node(1), cluster.node(2)];
  first.sql("INSERT INTO t VALUES (500, 'early'), (501, 'early')");
  await cluster.converge();
  // It will be too old by then, which is not what is to be told.
  const early = await saveSnapshot(cluster, first);
  assert.equal(early.code, 0, early.error);
  await late.kill();
  late.sql("UPDATE t SET v = 'of the late node' WHERE id = 500");
  first.sql(COLUMN);
  first.sql(TABLE);
  await writePastRetention(
    first,
    (i) => `INSERT INTO t VALUES (${i}, 'later', 'extra ${i}'); INSERT INTO later VALUES (${i}, 'new')`,
  );
  first.sql("DELETE FROM t WHERE id = 501");
  await first.untilPublished();
  const saved = await saveSnapshot(cluster, first);
  assert.equal(saved.code, 0, saved.error);

  await late.start({ flags: ["-enable-snapshot=true"] });
  await late.waitForLog(/ERROR stream stopped: .*there is no such table here/);
  const captured = late.countPending();
  late.sql("INSERT INTO t VALUES (600, 'while it waits')");
  assert.ok(late.countPending() > captured, "it is captured");
  const waiting = late.log.length;
  late.sql(TABLE);
  await late.waitForLog(/ERROR stream stopped: .*column \\"extra\\" is missing/, { from: waiting });
  late.sql("INSERT INTO t VALUES (601, 'while it waits')");
  assert.deepEqual(rowsOf(late, "SELECT id FROM t ORDER BY id"), [[500], [501], [600], [601]]);
  assert.ok(late.isRunning);
  late.sql(COLUMN);
  await late.waitForLog(/INFO {2}snapshot taken over/, { from: waiting, timeoutMs: 60_000 });
  await late.waitForLog(/INFO {2}stream goes on/, { from: waiting });
  await cluster.converge();
  assert.deepEqual(rowsOf(first, "SELECT id, v, extra FROM t WHERE id >= 500 ORDER BY id"), [
    [500, "of the late node", "none"],
    [600, "while it waits", "none"],
    [601, "while it waits", "none"],
  ]);
  assert.deepEqual(rowsOf(late, "SELECT v, extra FROM t WHERE id = 7"), [["later", "extra 7"]]);
  assert.deepEqual(rowsOf(late, "SELECT count(*) FROM later"), [[KEPT + 10]]);
});

Deno.test("a late node that has a column and a table that the snapshot lacks takes it over, and what is in them stays", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: SHORT });
  const [first, late] = [cluster.node(1), cluster.node(2)];
  first.sql("INSERT INTO t VALUES (500, 'early'), (501, 'early'), (502, 'early')");
  await cluster.converge();
  await late.kill();
  late.sql(COLUMN);
  late.sql(TABLE);
  late.sql(
    "UPDATE t SET extra = 'of the late node' WHERE id = 500; INSERT INTO later VALUES (1, 'not captured')",
  );
  await writePastRetention(first, (i) => `INSERT INTO t VALUES (${i}, 'later')`);
  first.sql("UPDATE t SET v = 'later' WHERE id = 500 OR id = 502; DELETE FROM t WHERE id = 501");
  await first.untilPublished();
  const saved = await saveSnapshot(cluster, first);
  assert.equal(saved.code, 0, saved.error);

  await late.start({ flags: ["-enable-snapshot=true"] });
  await late.waitForLog(/INFO {2}snapshot taken over/, { timeoutMs: 60_000 });
  late.sql("INSERT INTO later VALUES (2, 'afterwards')");
  await late.untilPublished();
  // What comes to a node without them waits there as ever.
  first.sql(COLUMN);
  first.sql(TABLE);
  await cluster.converge();
  const rows = "SELECT id, v, extra FROM t WHERE id >= 500 ORDER BY id";
  assert.deepEqual(rowsOf(late, rows), [[500, "early", "of the late node"], [502, "later", "none"]]);
  assert.deepEqual(rowsOf(late, "SELECT count(*) FROM t WHERE v = 'later' AND extra = 'none'"), [[
    KEPT + 11,
  ]]);
  assert.deepEqual(rowsOf(late, "SELECT v FROM later ORDER BY id"), [["not captured"], ["afterwards"]]);
});
