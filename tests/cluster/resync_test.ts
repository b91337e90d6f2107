/** marmot resync on real processes: a node that was away for too long goes on, beside a running node and without one. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { type Ended, MarmotRun, saveSnapshot } from "../support/snapshots.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const KEPT = 20;
const FLAGS = ["-shards", "1", "-max-log-entries", String(KEPT)];
const ROWS = 3 * KEPT;

function resync(node: ClusterNode, ...flags: string[]): Promise<Ended> {
  return new MarmotRun(["resync", ...flags, "-db-path", node.path]).ended();
}

function count(node: ClusterNode, where = "true"): number {
  return Number(node.application.prepare(`SELECT count(*) AS n FROM t WHERE ${where}`).get()?.["n"]);
}

async function untilCounted(node: ClusterNode, where: string, wanted: number): Promise<void> {
  await waitUntil(() => count(node, where) === wanted, {
    timeoutMs: 20_000,
    what: () =>
      `node ${node.id} has ${count(node, where)} rows where ${where}, not ${wanted}:\n${
        node.log.slice(-3000)
      }`,
  });
}

/** Node 2 was away while its stream lost what it had not read. It has a change of its own, and is not running. */
async function makeLate(): Promise<Cluster> {
  const cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: FLAGS });
  const [writing, late] = [cluster.node(1), cluster.node(2)];
  writing.sql("INSERT INTO t VALUES (0, 'before')");
  await cluster.converge();
  await late.stop();
  late.sql("INSERT INTO t VALUES (1000, 'own')");
  for (let id = 1; id <= ROWS; id++) {
    writing.sql(`INSERT INTO t VALUES (${id}, 'missed')`);
    await writing.untilPublished();
  }
  return cluster;
}

async function startLate(late: ClusterNode): Promise<void> {
  await late.start();
  await late.waitForLog(/ERROR stream stopped: messages .* hint="marmot resync -help tells the ways out"/);
}

function storeFlags(cluster: Cluster): string[] {
  return ["-snapshot-url", pathToFileURL(join(cluster.folder, "store")).href];
}

/** What both nodes write from now on reaches both. */
async function assertGoingOn(cluster: Cluster): Promise<void> {
  const [writing, late] = [cluster.node(1), cluster.node(2)];
  await untilCounted(writing, "v = 'own'", 1);
  writing.sql("UPDATE t SET v = 'again' WHERE id < 1000");
  late.sql("UPDATE t SET v = 'again' WHERE id = 1000");
  await cluster.converge();
  assert.equal(count(late, "v = 'again'"), ROWS + 2);
}

Deno.test("a late node beside which marmot resync -from now is called goes on, and says what it skipped", async () => {
  await using cluster = await makeLate();
  const late = cluster.node(2);
  await startLate(late);
  const asked = await resync(late, "--from", "now");
  assert.deepEqual([asked.code, asked.error], [
    1,
    `marmot: Cannot resync "${late.path}": nobody is here to be asked\n-yes does it without asking.\n`,
  ]);
  const done = await resync(late, "--from", "now", "--yes");
  assert.equal(done.code, 0, done.error);
  assert.match(done.output, /\nmarmot-changes-1: goes on behind \d+, had read up to \d+\nDone\.\n$/);
  await late.waitForLog(/WARN {2}stream goes on from its end, as the operator asked/);
  await untilCounted(cluster.node(1), "v = 'own'", 1);
  assert.equal(count(late, "v = 'missed'"), 0);
  await assertGoingOn(cluster);
});

Deno.test("marmot resync -from first without a node is carried out when it is started", async () => {
  await using cluster = await makeLate();
  const late = cluster.node(2);
  const asked = await resync(late, "-from", "first", "-stream", "1", "-yes", "-json");
  assert.deepEqual(JSON.parse(asked.output), { isOnRecord: true, isDone: false, from: "first", moves: [] });
  await late.start();
  await late.waitForLog(/WARN {2}stream is read again from its first message, as the operator asked/);
  await untilCounted(cluster.node(1), "v = 'own'", 1);
  const missed = count(late, "v = 'missed'");
  assert.ok(missed >= KEPT - 1 && missed <= KEPT, `${missed} of the missed rows came`);
  await assertGoingOn(cluster);
});

Deno.test("marmot resync -from first beside a running node reads again what it had read", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: FLAGS });
  const [writing, other] = [cluster.node(1), cluster.node(2)];
  writing.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')");
  const content = await cluster.converge();
  // Rows that differ without a change on record, as after a mistake of the operator's.
  other.sql("BEGIN; DELETE FROM t; DELETE FROM __marmot__change_log WHERE kind = 0; COMMIT");
  assert.equal(count(other), 0);
  const done = await resync(other, "-from", "first", "-yes");
  assert.match(done.output, /\nmarmot-changes-1: goes on behind 0, had read up to \d+\nDone\.\n$/);
  assert.deepEqual(await cluster.converge(), content);
});

Deno.test("marmot resync -from snapshot names the snapshot, and puts on record what the node is to take over", async () => {
  await using cluster = await makeLate();
  const [writing, late] = [cluster.node(1), cluster.node(2)];
  const flags = storeFlags(cluster);
  const none = await resync(late, "-from", "snapshot", "-yes", ...flags);
  assert.equal(none.code, 1);
  assert.match(none.error, /^marmot: Cannot resync from a snapshot: there is none in file:/);
  const saved = await saveSnapshot(cluster, writing, [...flags, "-json"]);
  const { object } = JSON.parse(saved.output);
  const asked = await resync(late, "-from", "snapshot", "-yes", ...flags);
  assert.equal(asked.code, 0, asked.error);
  assert.ok(asked.output.includes(`\nThe snapshot: ${object}, of node 1, `), asked.output);
  assert.match(asked.output, /\nmarmot-changes-1: the snapshot holds it up to \d+\n[^]*\nOn record: /);
  const unknown = await resync(late, "-from", "snapshot", "-stream", "2", "-yes", ...flags);
  assert.match(unknown.error, /^marmot: Cannot take over snapshot .*: it tells nothing of stream 2\n/);
  await late.start({ flags: ["-enable-snapshot=true", ...flags] });
  await late.waitForLog(/INFO {2}snapshot taken over stream=marmot-changes-1 /, { timeoutMs: 40_000 });
  await cluster.converge();
  assert.equal(count(late, "v = 'missed'"), ROWS);
  await assertGoingOn(cluster);
});

Deno.test("marmot resync -from snapshot beside a running node makes rows equal, and ends what waits", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, flags: FLAGS });
  const writing = cluster.node(1);
  const flags = storeFlags(cluster);
  // Its CHECK refuses what the other node had for a while.
  const other = cluster.addNode({
    schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v CHECK (v <> 'refused'))",
    flags: [...FLAGS, ...flags],
    hasSnapshots: true,
  });
  await other.start();
  writing.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')");
  await cluster.converge();
  writing.sql("UPDATE t SET v = 'refused' WHERE id = 1");
  await waitUntil(
    () => other.application.prepare("SELECT 1 FROM __marmot__parked").get() !== undefined,
    { timeoutMs: 20_000, what: () => other.log },
  );
  writing.sql("DELETE FROM t WHERE id = 2; UPDATE t SET v = 'c' WHERE id = 1");
  await writing.untilPublished();
  const saved = await saveSnapshot(cluster, writing, flags);
  assert.equal(saved.code, 0, saved.error);
  const done = await resync(other, "-from", "snapshot", "-yes", ...flags);
  assert.equal(done.code, 0, done.error);
  await other.waitForLog(/INFO {2}snapshot taken over stream=marmot-changes-1 /, { timeoutMs: 40_000 });
  await cluster.converge();
  assert.equal(other.application.prepare("SELECT count(*) AS n FROM __marmot__parked").get()?.["n"], 0);
  writing.sql("INSERT INTO t VALUES (3, 'later')");
  await cluster.converge();
});

Deno.test("a node on which snapshots are off says that it takes none over, and goes on", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: FLAGS });
  const [writing, other] = [cluster.node(1), cluster.node(2)];
  const flags = storeFlags(cluster);
  writing.sql("INSERT INTO t VALUES (1, 'a')");
  await cluster.converge();
  assert.equal((await saveSnapshot(cluster, writing, flags)).code, 0);
  await resync(other, "-from", "snapshot", "-yes", ...flags);
  await other.waitForLog(/ERROR no snapshot can be taken over as was asked for, the stream goes on /);
  writing.sql("INSERT INTO t VALUES (2, 'later')");
  await cluster.converge();
});
