/** One process per node id, on real processes: who is refused, who goes on, and that nothing is lost over it. */
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { hostname } from "node:os";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { SHORT_LEASE_MS, shortenLease, withClaims } from "../support/claims.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const WAITING = /another process holds the claim, waiting to see whether it is alive/;
/** The lines for the operator, without what is logged. */
function sentencesOf(node: ClusterNode, from = 0): string[] {
  return node.log.slice(from).split("\n").filter((line) => line.startsWith("marmot: "));
}

Deno.test("a second node with an id given by flag is refused, and told who holds it", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
  const [holder, second] = [cluster.node(1), cluster.node(2)];
  await holder.start();
  await second.start({ flags: ["-node-id", "1"], isAwaited: false });
  assert.equal(await second.waitForExit(), 1);
  assert.match(second.log, WAITING);
  const sentence = sentencesOf(second).join("\n");
  const expected =
    `marmot: Cannot start as node 1: the id is held by process ${holder.pid} on host "${hostname()}" ` +
    `with the database "node 1.db" (${holder.path}), since 20`;
  assert.ok(sentence.startsWith(expected), sentence);
  assert.match(second.log, /Give each node an id of its own with -node-id, or stop the other one\./);
  second.sql("INSERT INTO t VALUES (1, 'captured while refused')");
  assert.equal(nodeIdOf(second), "undefined", "an id that it was refused is not on record");
  await second.start();
  holder.sql("INSERT INTO t VALUES (2, 'of the holder')");
  const content = await cluster.converge();
  assert.equal(content.get("t")?.split("\n").length, 2);
});

Deno.test("a second process on the same database is refused, with the same id, with another, and with none", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  const holder = cluster.node(1);
  const { pid } = holder;
  for (const id of [["-node-id", "1"], ["-node-id", "2"], []]) {
    const output = await runBeside(cluster, ["-db-path", holder.path, ...id]);
    assert.equal(output.code, 1, output.stderr);
    assert.match(
      output.stderr,
      new RegExp(
        `^marmot: Cannot replicate the database "node 1\\.db": process ${pid} does so already, since 20`,
        "m",
      ),
    );
  }
  holder.sql("INSERT INTO t VALUES (1, 'undisturbed')");
  await holder.untilPublished();
  assert.ok(holder.isRunning);
});

Deno.test("a node that was killed is started again at once under its id", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA });
  const node = cluster.node(1);
  for (let round = 1; round <= 3; round++) {
    await node.kill();
    const from = node.log.length;
    node.sql(`INSERT INTO t VALUES (${round}, 'while it was down')`);
    await node.start();
    assert.match(node.log.slice(from), /took over the claim of a process that is gone/);
    assert.doesNotMatch(node.log.slice(from), WAITING);
  }
  await cluster.converge();
});

Deno.test("a clean stop gives the id back: another file takes it without waiting", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
  await cluster.node(1).start();
  assert.equal(await cluster.node(1).stop(), 0);
  await cluster.node(2).start({ flags: ["-node-id", "1"] });
  assert.doesNotMatch(cluster.node(2).log, WAITING);
});

Deno.test("a copy on another machine takes an id of its own, and what it inherited is in effect once", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
  const [original, copy] = [cluster.node(1), cluster.node(2)];
  await original.start({ isIdGiven: false });
  original.sql("INSERT INTO t VALUES (1, 'before the copy'), (2, 'before the copy')");
  await original.untilPublished();
  await cluster.server.stop();
  original.sql(
    "INSERT INTO t VALUES (3, 'pending in the copy'); UPDATE t SET v = 'pending, too' WHERE id = 1",
  );
  copyOnto(original, copy);
  copy.sql("INSERT INTO t VALUES (4, 'of the copy, before Marmot ran there')");
  assert.ok(copy.countPending() > 0);
  await cluster.server.restart();
  await original.untilPublished();
  original.sql("UPDATE t SET v = 'newer' WHERE id = 2");
  await copy.start({ isIdGiven: false, env: { MARMOT_MACHINE: "elsewhere" } });
  assert.match(copy.log, WAITING);
  assert.match(
    copy.log,
    /the database file is a copy of a node that is alive: this node takes an id of its own/,
  );
  copy.sql("INSERT INTO t VALUES (5, 'of the copy')");
  original.sql("INSERT INTO t VALUES (6, 'of the original')");
  await cluster.converge();
  assert.deepEqual(copy.application.prepare("SELECT v FROM t ORDER BY id").all().map((row) => row["v"]), [
    "pending, too",
    "newer",
    "pending in the copy",
    "of the copy, before Marmot ran there",
    "of the copy",
    "of the original",
  ]);
  assert.notEqual(nodeIdOf(original), nodeIdOf(copy));
  assert.ok(original.isRunning && copy.isRunning);
  // It keeps that id.
  const id = nodeIdOf(copy);
  await copy.stop();
  await copy.start({ isIdGiven: false, env: { MARMOT_MACHINE: "elsewhere" } });
  assert.equal(nodeIdOf(copy), id);
});

Deno.test("an original that was down while its copy ran under its id is the one that takes another", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
  await shortenLease(cluster.server.url);
  const [original, copy] = [cluster.node(1), cluster.node(2)];
  await original.start({ isIdGiven: false });
  original.sql("INSERT INTO t VALUES (1, 'before the copy')");
  await original.untilPublished();
  await original.kill();
  copyOnto(original, copy);
  const id = nodeIdOf(original);
  await copy.start({ isIdGiven: false, env: { MARMOT_MACHINE: "elsewhere" } });
  assert.equal(nodeIdOf(copy), id);
  copy.sql("INSERT INTO t VALUES (2, 'of the copy'); UPDATE t SET v = 'of the copy, too' WHERE id = 1");
  await copy.untilPublished();
  original.sql(
    "INSERT INTO t VALUES (3, 'of the original, while it was down'); UPDATE t SET v = 'last' WHERE id = 1",
  );
  await original.start({ isIdGiven: false });
  assert.match(original.log, /this node takes an id of its own/);
  assert.notEqual(nodeIdOf(original), id);
  await cluster.converge();
  assert.deepEqual(copy.application.prepare("SELECT v FROM t ORDER BY id").all().map((row) => row["v"]), [
    "last",
    "of the copy",
    "of the original, while it was down",
  ]);
});

Deno.test("a node halted past its lease takes its claim back when nobody else has", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
  await shortenLease(cluster.server.url);
  for (const node of cluster.nodes) await node.start();
  const halted = cluster.node(1);
  halted.pause();
  await untilExpired(cluster, 1n);
  halted.resume();
  await halted.waitForLog(/the claim to the node id had expired: taking it back/);
  halted.sql("INSERT INTO t VALUES (1, 'after the halt')");
  await cluster.converge();
});

Deno.test("a node halted past its lease stops when another has its id by then, and loses nothing", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
  await shortenLease(cluster.server.url);
  const [older, newer] = [cluster.node(1), cluster.node(2)];
  await older.start();
  older.sql("INSERT INTO t VALUES (1, 'of the older')");
  await older.untilPublished();
  older.pause();
  await newer.start({ flags: ["-node-id", "1"] });
  assert.match(newer.log, WAITING);
  older.sql("INSERT INTO t VALUES (2, 'of the older, halted')");
  const from = older.log.length;
  older.resume();
  assert.equal(await older.waitForExit(), 1);
  assert.match(sentencesOf(older, from).join("\n"), /^marmot: Cannot go on as node 1: /);
  newer.sql("INSERT INTO t VALUES (3, 'of the newer')");
  await older.start({ flags: ["-node-id", "3"] });
  older.sql("INSERT INTO t VALUES (4, 'of the older, under its new id')");
  const content = await cluster.converge();
  assert.equal(content.get("t")?.split("\n").length, 4);
});

Deno.test("nodes go on and keep their ids when nats-server is away for longer than the lease", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
  await shortenLease(cluster.server.url);
  for (const node of cluster.nodes) await node.start();
  await cluster.server.stop();
  const stoppedAt = Date.now();
  await waitUntil(() => Date.now() - stoppedAt > SHORT_LEASE_MS, { timeoutMs: 10_000, what: () => "" });
  await cluster.server.restart();
  for (const node of cluster.nodes) node.sql(`INSERT INTO t VALUES (${node.id}, 'after the outage')`);
  await cluster.converge();
  for (const node of cluster.nodes) await untilHeld(cluster, BigInt(node.id), node.pid);
});

/** Waits until the broker has ended a claim. */
async function untilExpired(cluster: Cluster, nodeId: bigint): Promise<void> {
  await withClaims(cluster.server.url, async (claims) => {
    const isGone = async () => await claims.find(nodeId) === undefined;
    await waitUntil(isGone, { timeoutMs: 20_000, what: () => `the claim of node ${nodeId} does not expire` });
  });
}

async function untilHeld(cluster: Cluster, nodeId: bigint, pid: number): Promise<void> {
  await withClaims(cluster.server.url, async (claims) => {
    const isHeld = async () => (await claims.find(nodeId))?.claim.pid === pid;
    await waitUntil(isHeld, { timeoutMs: 20_000, what: () => `process ${pid} does not hold node ${nodeId}` });
  });
}

/** Puts a copy of one node's database in the place of another's, as it looks on a machine that gave it the same inode. */
function copyOnto(original: ClusterNode, copy: ClusterNode): void {
  // The last connection takes the -wal file away.
  copy.application.close();
  Deno.removeSync(copy.path);
  original.application.prepare("VACUUM INTO ?").run(copy.path);
  copy.application.open();
  copy.sql("PRAGMA journal_mode = WAL");
  copy.application.prepare("UPDATE __marmot__meta SET value = ? WHERE name = 'file_identity'")
    .run(String(statSync(copy.path, { bigint: true }).ino));
}

function nodeIdOf(node: ClusterNode): string {
  const row = node.application.prepare("SELECT value FROM __marmot__meta WHERE name = 'node_id'").get();
  return String(row?.["value"]);
}

/** Runs another process until it ends by itself. */
async function runBeside(cluster: Cluster, flags: string[]): Promise<{ code: number; stderr: string }> {
  const args = ["-nats-url", cluster.server.url, "-seq-map-path", `${cluster.folder}/beside.cbor`, ...flags];
  const main = new URL("../../src/main.ts", import.meta.url).pathname;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", "--no-check", main, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    signal: AbortSignal.timeout(20_000),
  });
  const { code, stderr } = await command.output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}
