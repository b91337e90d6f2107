/** A node that falls behind while it runs and stays connected: what it has not read is trimmed, and it catches up by itself. */
import assert from "node:assert/strict";
import { Cluster, type ClusterNode } from "../support/cluster.ts";
import { saveSnapshot, temporaryFiles } from "../support/snapshots.ts";

const SCHEMA = `CREATE TABLE t (id INTEGER PRIMARY KEY, v);
  CREATE TABLE big (id INTEGER PRIMARY KEY, v)`;
/** One stream, which keeps few messages. */
const KEPT = 20;
const SHORT = ["-shards", "1", "-max-log-entries", String(KEPT)];
/** The server ends connections whose client does not read for so long; the node halts longer on a busy machine. */
const PATIENT = { config: 'write_deadline: "120s"' };
/** Rows that are each a message of about that size, and so many of them at once. */
const BIG_BYTES = 900_000;
const BIG_ROWS = 8;
/** What comes to a halted node: it has asked for twice 8 MiB (src/stream/stream_reader.ts). */
const ASKED_BYTES = 2 * 8 * 1024 * 1024;

/** Writes what becomes messages of its own: later changes of the same rows would be told by one. */
async function publish(node: ClusterNode, text: string): Promise<void> {
  node.sql(text);
  await node.untilPublished();
}

Deno.test("a node that is halted past the retention, and stays connected, catches up while its application writes", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: SCHEMA,
    flags: SHORT,
    server: PATIENT,
    isStarted: false,
  });
  const [first, late] = [cluster.node(1), cluster.node(2)];
  await first.start();
  await late.start({ flags: ["-enable-snapshot=true"] });
  await publish(first, "INSERT INTO t VALUES (500, 'early'), (501, 'early'), (502, 'early'), (503, 'early')");
  await cluster.converge();
  const [from, { pid }] = [late.log.length, late];
  late.pause();
  late.sql(`UPDATE t SET v = 'of the late node' WHERE id IN (500, 501);
    INSERT INTO t VALUES (600, 'of the late node')`);
  for (let bytes = 0; bytes < ASKED_BYTES + BIG_BYTES; bytes += BIG_ROWS * BIG_BYTES) {
    await publish(
      first,
      `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${BIG_ROWS})
      INSERT OR REPLACE INTO big SELECT i, randomblob(${BIG_BYTES}) FROM n`,
    );
  }
  // In a message that the late node can never read.
  await publish(first, "UPDATE t SET v = 'later' WHERE id IN (501, 502); DELETE FROM t WHERE id = 503");
  for (let i = 0; i <= KEPT; i++) await publish(first, `INSERT INTO t VALUES (${i}, 'later')`);
  const saved = await saveSnapshot(cluster, first);
  assert.equal(saved.code, 0, saved.error);

  let id = 10_000;
  const writing = setInterval(() => late.sql(`INSERT INTO t VALUES (${id++}, 'while it catches up')`), 5);
  using _end = { [Symbol.dispose]: () => clearInterval(writing) };
  late.resume();
  await late.waitForLog(/INFO {2}taking a snapshot over .*INFO {2}snapshot taken over /s, { from });
  clearInterval(writing);
  const written = id - 10_000;
  assert.ok(written > 0);
  await cluster.converge();
  const rows = first.application.prepare("SELECT id, v FROM t WHERE id BETWEEN 500 AND 600 ORDER BY id")
    .all();
  assert.deepEqual(rows.map((row) => Object.values(row)), [
    [500, "of the late node"],
    [501, "of the late node"],
    [502, "later"],
    [600, "of the late node"],
  ]);
  const arrived = first.application.prepare("SELECT count(*) AS n FROM t WHERE id >= 10000").get();
  assert.equal(arrived?.["n"], written);
  assert.equal(late.pid, pid);
  assert.doesNotMatch(late.log.slice(from), /lost the connection|ERROR/);
  assert.deepEqual(temporaryFiles(late.path), []);
});
