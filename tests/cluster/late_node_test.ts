/** Nodes that were away for longer than the streams keep messages, on real processes: they catch up by themselves. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Cluster, type ClusterNode } from "../support/cluster.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { NatsServer } from "../support/nats_server.ts";
import { announcedRandom } from "../support/random.ts";
import { entriesIn, rowsOf, runSnapshot, saveSnapshot, temporaryFiles } from "../support/snapshots.ts";

const SCHEMA = `CREATE TABLE t (id INTEGER PRIMARY KEY, v);
  CREATE TABLE people (id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name);
  CREATE INDEX by_name ON people (name);`;
/** Of a node while it takes a snapshot with so many rows over. */
const KILLS = 10;
const ROWS = 20_000;
/** Streams that keep few messages. */
const SHORT = ["-shards", "2", "-max-log-entries", "40"];

function valueOf(node: ClusterNode, id: number): unknown {
  return node.application.prepare("SELECT v FROM t WHERE id = ?").get(id)?.["v"];
}

/** Writes until the server has trimmed what a node that is away has not read, and a snapshot covers it. */
async function writePastRetention(node: ClusterNode): Promise<void> {
  for (let i = 0; i < 60; i++) {
    node.sql(`INSERT OR REPLACE INTO t VALUES (${i % 40}, 'later ${i}');
      DELETE FROM t WHERE id = ${100 + i};
      INSERT OR REPLACE INTO people VALUES (${i % 30}, 'mail ${(i * 7) % 30}', 'later ${i}');`);
    await delay(15);
  }
  await node.untilPublished();
}

Deno.test("a node that was away past the retention catches up while its application writes, and keeps what it wrote", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: SHORT, hasSnapshots: true });
  const [first, late] = [cluster.node(1), cluster.node(2)];
  first.sql(`WITH RECURSIVE n (i) AS (VALUES (100) UNION ALL SELECT i + 1 FROM n WHERE i < 900)
    INSERT INTO t SELECT i, 'early' FROM n`);
  await cluster.converge();
  await late.kill();
  late.sql(
    `UPDATE t SET v = 'of the late node' WHERE id = 500; INSERT INTO people VALUES (77, 'mail 1', 'late');
    DELETE FROM t WHERE id = 501`,
  );
  await writePastRetention(first);
  let id = 10_000;
  const writing = setInterval(() => late.sql(`INSERT INTO t VALUES (${id++}, 'while it catches up')`), 5);
  using _end = { [Symbol.dispose]: () => clearInterval(writing) };
  await late.start();
  await late.waitForLog(/INFO {2}snapshot taken over .*INFO {2}snapshot taken over/s, { timeoutMs: 40_000 });
  await late.waitForLog(/INFO {2}ready /);
  clearInterval(writing);
  await cluster.converge();
  assert.equal(valueOf(first, 500), "of the late node");
  assert.equal(first.application.prepare("SELECT name FROM people WHERE id = 77").get()?.["name"], "late");
  const count = (node: ClusterNode) =>
    Number(node.application.prepare("SELECT count(*) AS n FROM t WHERE id >= 10000").get()?.["n"]);
  assert.equal(count(first), id - 10_000);
  assert.equal(valueOf(first, 501), undefined);
  assert.deepEqual(temporaryFiles(late.path), []);
});

Deno.test("a node that was cut off past the retention catches up without a start", async () => {
  const random = announcedRandom("a node that is cut off");
  await using server = await NatsServer.start();
  await using proxy = await FaultProxy.start({ target: () => server.port, random });
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: SCHEMA,
    flags: SHORT,
    hasSnapshots: true,
    natsUrl: (id) => id === 1 ? server.url : `nats://127.0.0.1:${proxy.port}`,
  });
  const [first, late] = [cluster.node(1), cluster.node(2)];
  first.sql("INSERT INTO t VALUES (500, 'early'), (600, 'early'), (700, 'early')");
  await cluster.converge();
  proxy.isRefusing = true;
  proxy.cut();
  late.sql("UPDATE t SET v = 'of the late node' WHERE id = 500");
  await writePastRetention(first);
  first.sql("UPDATE t SET v = 'later' WHERE id = 600; DELETE FROM t WHERE id = 700");
  proxy.heal();
  await late.waitForLog(/INFO {2}snapshot taken over/, { timeoutMs: 60_000 });
  await cluster.converge();
  assert.deepEqual([500, 600, 700].map((id) => valueOf(late, id)), ["of the late node", "later", undefined]);
});

Deno.test("without a snapshot the stream stays stopped and says so, and goes on once there is one", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: SHORT });
  const [first, late] = [cluster.node(1), cluster.node(2)];
  await late.kill();
  await writePastRetention(first);
  await late.start({ flags: ["-enable-snapshot=true"] });
  await late.waitForLog(/ERROR stream stopped: .*there is no snapshot/);
  late.sql("INSERT INTO t VALUES (5000, 'waits')");
  assert.equal(valueOf(first, 5000), undefined);
  const saved = await saveSnapshot(cluster, first);
  assert.equal(saved.code, 0, saved.error);
  await late.waitForLog(/INFO {2}stream goes on/, { timeoutMs: 30_000 });
  await cluster.converge();
  assert.equal(valueOf(first, 5000), "waits");
});

Deno.test("a late node whose newest snapshot is damaged says so and takes the one before", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: SHORT });
  const [first, late] = [cluster.node(1), cluster.node(2)];
  await late.kill();
  await writePastRetention(first);
  const folder = join(cluster.folder, "store");
  const flags = ["-snapshot-url", pathToFileURL(folder).href];
  for (const round of ["first", "second"]) {
    const saved = await saveSnapshot(cluster, first, flags);
    assert.equal(saved.code, 0, saved.error);
    first.sql(`INSERT OR REPLACE INTO t VALUES (1, 'behind the ${round} snapshot')`);
    await first.untilPublished();
  }
  const [newest] = await entriesIn(folder);
  const path = join(folder, newest?.object ?? "");
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
  await late.start({ flags: ["-enable-snapshot=true", ...flags] });
  await late.waitForLog(/WARN {2}this snapshot cannot be taken over .*the sums differ/);
  await late.waitForLog(/INFO {2}snapshot taken over/);
  await cluster.converge();
  assert.equal(valueOf(late, 1), "behind the second snapshot");
});

Deno.test("a node that is killed again and again while it takes a snapshot over ends equal to the others", async () => {
  const random = announcedRandom("kills of a late node");
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: SHORT });
  const [first, late] = [cluster.node(1), cluster.node(2)];
  await late.kill();
  first.sql(rowsOf(ROWS * 1000, 1000));
  late.sql("INSERT INTO t VALUES (1500, 'of the late node')");
  await writePastRetention(first);
  const saved = await saveSnapshot(cluster, first);
  assert.equal(saved.code, 0, saved.error);
  const taken = late.application.prepare("SELECT count(*) AS n FROM t WHERE id >= 1000");
  const countTaken = () => Number(taken.get()?.["n"]);
  const moments = Array.from({ length: KILLS }, () => random.below(ROWS)).sort((a, b) => a - b);
  let unfinished = 0;
  for (const [round, rows] of moments.entries()) {
    const from = late.log.length;
    await late.start({ flags: ["-enable-snapshot=true"] });
    await late.waitForLog(/INFO {2}taking a snapshot over/, { from });
    while (countTaken() < rows) await delay(1);
    await late.kill();
    if (countTaken() < ROWS) unfinished++;
    late.sql(`INSERT INTO people VALUES (${1000 + round}, 'round ${round}', 'while it was dead')`);
  }
  assert.ok(unfinished > KILLS / 2, `${unfinished} kills came before the end`);
  await late.start({ flags: ["-enable-snapshot=true"] });
  await cluster.converge({ timeoutMs: 60_000 });
  assert.equal(valueOf(first, 1500), "of the late node");
  assert.equal(
    first.application.prepare("SELECT count(*) AS n FROM people WHERE name = 'while it was dead'").get()
      ?.["n"],
    KILLS,
  );
  assert.deepEqual(temporaryFiles(late.path), []);
  const listed = await runSnapshot(cluster, ["list"]).ended();
  assert.equal(listed.code, 0);
});
