/** Nodes that begin with nothing, on real processes: they take a snapshot, read on, and end equal to the others. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { MarmotProcess } from "../../scripts/marmot_process.ts";
import { dumpTables } from "../../scripts/table_dump.ts";
import { silentLog } from "../../src/observability/log.ts";
import { connect } from "../../src/stream/connection.ts";
import { ObjectBucket } from "../../src/stream/object_bucket.ts";
import { Cluster, waitUntil } from "../support/cluster.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { announcedRandom } from "../support/random.ts";
import {
  coldNode,
  entriesIn,
  rowsOf,
  saveSnapshot,
  temporaryFiles,
  untilEqual,
  untilReady,
} from "../support/snapshots.ts";

const SCHEMA = `CREATE TABLE t (id INTEGER PRIMARY KEY, v);
  CREATE TABLE log (line);
  CREATE UNIQUE INDEX one_line ON log (line);
  INSERT INTO t VALUES (-1, 'there before Marmot');
  INSERT INTO log (rowid, line) VALUES (7, 'keyed by its rowid');`;
/** Enough to take much longer to be applied than the test takes to look. */
const ROWS_BEHIND = 20_000;
const never = new AbortController().signal;

async function untilEnded(node: MarmotProcess): Promise<void> {
  await waitUntil(() => node.hasEnded, { timeoutMs: 40_000, what: () => node.log });
}

Deno.test("a node joins from nothing while the others write, writes itself, and all end equal", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA });
  let id = 1;
  let isWriting = true;
  const writing = (async () => {
    while (isWriting) {
      for (const node of cluster.nodes) {
        node.sql(`INSERT INTO t VALUES (${id++}, 'of node ${node.id}'), (${id++}, randomblob(200));
          UPDATE t SET v = 'node ${node.id} at ${id}' WHERE id = ${id % 40};
          DELETE FROM t WHERE id = ${id % 90};
          INSERT OR REPLACE INTO log (line) VALUES ('line ${id % 30}');`);
      }
      await delay(10);
    }
  })();
  await waitUntil(() => id > 200, { timeoutMs: 20_000, what: () => "nobody writes" });
  const saved = await saveSnapshot(cluster, cluster.node(1));
  assert.equal(saved.code, 0, saved.error);
  await using third = coldNode(cluster, 3);
  await untilReady(third);
  using application = new DatabaseSync(third.path, { timeout: 10_000 });
  application.exec("INSERT INTO t VALUES (-3, 'of the new node')");
  isWriting = false;
  await writing;
  await untilEqual(cluster, third.path);
  assert.equal(
    cluster.node(2).application.prepare("SELECT v FROM t WHERE id = -3").get()?.["v"],
    "of the new node",
  );
  assert.deepEqual(temporaryFiles(third.path), []);
  assert.equal(await third.stop(), 0);
});

Deno.test("all that stood behind the snapshot is in the database when the new node says that it is ready", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  const node = cluster.node(1);
  node.sql("INSERT INTO t VALUES (-2, 'in the snapshot'), (-3, 'in the snapshot')");
  const saved = await saveSnapshot(cluster, node);
  assert.equal(saved.code, 0, saved.error);
  node.sql(`UPDATE t SET v = 'behind it' WHERE id = -2; DELETE FROM t WHERE id = -3;
    WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS_BEHIND})
    INSERT INTO t SELECT i, 'behind it' FROM n`);
  await node.untilPublished({ timeoutMs: 40_000 });
  await using cold = coldNode(cluster, 2);
  await untilReady(cold);
  using database = new DatabaseSync(cold.path, { readOnly: true });
  const [here, there] = [database, node.application].map((each) =>
    each.prepare("SELECT v, count(*) AS n, min(id) AS first, max(id) AS last FROM t GROUP BY v").all()
  );
  assert.deepEqual(here, there);
});

Deno.test("without a snapshot a node without a database ends with one sentence, and leaves no file", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  await using cold = coldNode(cluster, 2);
  await untilEnded(cold);
  assert.match(
    cold.log,
    /^marmot: Cannot start without a database: ".*cold 2\.db" does not exist, and there is no snapshot in NATS bucket marmot-changes-snapshot-store\nSave a snapshot where there is a database/m,
  );
  assert.equal(await cold.stop(), 1);
  assert.ok(!existsSync(cold.path));
  assert.deepEqual(temporaryFiles(cold.path), []);
  await using off = coldNode(cluster, 3, ["-enable-snapshot=false"]);
  await untilEnded(off);
  assert.match(off.log, /^marmot: Cannot open the database ".*cold 3\.db": there is no such file/m);
  assert.ok(!existsSync(off.path));
});

Deno.test("an empty database that the application has open is filled; without a snapshot it stays empty", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  using application = new DatabaseSync(join(cluster.folder, "cold 2.db"));
  application.exec("PRAGMA journal_mode = WAL");
  {
    await using before = coldNode(cluster, 2);
    await untilReady(before);
    assert.match(before.log, /there is no snapshot: the node begins with the empty database/);
    assert.equal(await before.stop(), 0);
  }
  const saved = await saveSnapshot(cluster, cluster.node(1));
  assert.equal(saved.code, 0, saved.error);
  using third = new DatabaseSync(join(cluster.folder, "cold 3.db"));
  third.exec("PRAGMA journal_mode = WAL");
  await using cold = coldNode(cluster, 3);
  await untilReady(cold);
  assert.equal(third.prepare("SELECT v FROM t").get()?.["v"], "there before Marmot");
  third.exec("INSERT INTO t VALUES (5, 'through the old handle')");
  await waitUntil(
    () => cluster.node(1).application.prepare("SELECT 1 FROM t WHERE id = 5").get() !== undefined,
    {
      timeoutMs: 20_000,
      what: () => cold.log,
    },
  );
});

Deno.test("a damaged snapshot is said and the one before is taken; without a sound one no file is left", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  const node = cluster.node(1);
  const folder = join(cluster.folder, "store");
  const flags = ["-snapshot-url", pathToFileURL(folder).href];
  for (const round of [1, 2]) {
    node.sql(rowsOf(100_000, round * 1000));
    const saved = await saveSnapshot(cluster, node, flags);
    assert.equal(saved.code, 0, saved.error);
  }
  const [newest, before] = (await entriesIn(folder)).map(({ object }) => join(folder, object));
  assert.ok(newest !== undefined && before !== undefined);
  const bytes = readFileSync(newest);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(newest, bytes);
  await using cold = coldNode(cluster, 2, flags);
  await untilReady(cold);
  assert.match(cold.log, /WARN {2}this snapshot cannot be used .*the sums differ/);
  await untilEqual(cluster, cold.path);
  writeFileSync(before, readFileSync(before).subarray(0, -1));
  await using unlucky = coldNode(cluster, 3, flags);
  await untilEnded(unlucky);
  assert.match(
    unlucky.log,
    /^marmot: Cannot start without a database: no snapshot in file:.* can be used \(/m,
  );
  assert.ok(!existsSync(unlucky.path));
  assert.deepEqual(temporaryFiles(unlucky.path), []);
});

Deno.test("a snapshot that the streams have left behind is refused", async () => {
  await using cluster = await Cluster.start({
    nodes: 1,
    schema: SCHEMA,
    flags: ["-max-log-entries", "5", "-shards", "1"],
  });
  const node = cluster.node(1);
  node.sql("INSERT INTO t VALUES (1, 'one')");
  const saved = await saveSnapshot(cluster, node);
  assert.equal(saved.code, 0, saved.error);
  for (let id = 100; id < 120; id++) {
    node.sql(`INSERT INTO t VALUES (${id}, 'later')`);
    await node.untilPublished();
  }
  await using cold = coldNode(cluster, 2, ["-shards", "1"]);
  await untilEnded(cold);
  assert.match(
    cold.log,
    /^marmot: Cannot start .*it is too old: it ends at \d+ of stream "marmot-changes-1", which begins/m,
  );
  assert.ok(!existsSync(cold.path));
});

Deno.test("a nats-server that is killed in the middle of a download only delays it", async () => {
  const random = announcedRandom("a server killed during a download");
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  cluster.node(1).sql(rowsOf(20_000_000));
  const saved = await saveSnapshot(cluster, cluster.node(1), ["-json"]);
  assert.equal(saved.code, 0, saved.error);
  const { objectBytes } = JSON.parse(saved.output);
  await using proxy = await FaultProxy.start({ target: () => cluster.server.port, random });
  proxy.setFault({ bytesPerSecond: 5e6 }, ["down"]);
  await using cold = coldNode(cluster, 2, [], { natsUrl: `nats://127.0.0.1:${proxy.port}` });
  const downloaded = () =>
    Math.max(0, ...proxy.connections.map((connection) => connection.delivered("down")));
  await waitUntil(() => cold.hasEnded || downloaded() > objectBytes / 4, {
    timeoutMs: 20_000,
    what: () => cold.log,
  });
  await cluster.server.kill();
  await waitUntil(() => /WARN {2}cannot read from the snapshot store, trying again/.test(cold.log), {
    timeoutMs: 20_000,
    what: () => cold.log,
  });
  assert.ok(!existsSync(cold.path));
  proxy.heal();
  await cluster.server.restart();
  await untilReady(cold);
  await untilEqual(cluster, cold.path);
});

Deno.test("the original's snapshot brings a node up, and what the streams hold comes on top", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: "SELECT 1", isStarted: false });
  const signal = never;
  const connection = await connect({
    urls: [cluster.server.url],
    nodeId: 0n,
    log: silentLog,
    signal,
    random: Math.random,
  });
  const file = readFileSync(new URL("../golden/snapshot_v06/snapshot.db", import.meta.url));
  const bucket = new ObjectBucket({ connection, bucket: "marmot-changes-snapshot-store", replicas: 1 });
  const content = async function* () {
    yield new Uint8Array(file);
  };
  await bucket.put("snapshot.db", content(), {
    headers: { "marmot-snapshot-tag": "f503aed2df332783" },
    signal,
  });
  await connection.close();
  await using cold = coldNode(cluster, 2, ["-wire-format", "v0.6"]);
  await untilReady(cold);
  const expected = JSON.parse(
    readFileSync(new URL("../golden/snapshot_v06/expected.json", import.meta.url), "utf8"),
  );
  using database = new DatabaseSync(cold.path);
  const counted = (table: string) =>
    Number(database.prepare(`SELECT count(*) AS n FROM "${table}"`).get()?.["n"]);
  for (const [table, rows] of Map.groupBy(expected as [string][], ([name]) => name)) {
    assert.equal(counted(table), rows.length, table);
  }
  database.exec("INSERT INTO people (id, name) VALUES (4711, 'new')");
  await using other = coldNode(cluster, 3);
  await untilReady(other);
  using second = new DatabaseSync(other.path);
  await waitUntil(() => second.prepare("SELECT 1 FROM people WHERE id = 4711").get() !== undefined, {
    timeoutMs: 20_000,
    what: () => other.log,
  });
});

Deno.test("with the original's format the plain file is saved as well, with its tag, as the original finds it", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, flags: ["-wire-format", "v0.6"] });
  const folder = join(cluster.folder, "store");
  const flags = ["-wire-format", "v0.6", "-snapshot-url", pathToFileURL(folder).href];
  const saved = await saveSnapshot(cluster, cluster.node(1), flags);
  assert.equal(saved.code, 0, saved.error);
  using plain = new DatabaseSync(join(folder, "snapshot.db"), { readOnly: true });
  const names = plain.prepare("SELECT name FROM sqlite_schema WHERE name LIKE '%marmot%'").all();
  assert.deepEqual(names, []);
  assert.deepEqual(dumpTables(plain), dumpTables(cluster.node(1).application, ["t", "log"]));
  await using cold = coldNode(cluster, 2, flags);
  await untilReady(cold);
  await untilEqual(cluster, cold.path);
});
