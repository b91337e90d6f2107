/** What the operator's commands do beside nodes that run, as real processes on the nodes' own files. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { ChangeEvent } from "../../src/wire/batch.ts";
import { BATCH_FORMAT, encodeBody, encodeEnvelope } from "../../src/wire/batch_codec.ts";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { HandPublisher } from "../support/hand_publisher.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE other (id INTEGER PRIMARY KEY, v)";
/** One stream, so that messages by hand go where the nodes' own go. */
const FLAGS = ["-shards", "1"];

async function marmot(node: ClusterNode, ...args: string[]): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", "--no-check", MAIN, ...args, "-db-path", node.path],
    stdin: "null",
  });
  const { code, stdout, stderr } = await command.output();
  const output = new TextDecoder().decode(stdout);
  assert.equal(code, 0, `marmot ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return output;
}

interface ConflictJson {
  readonly id: number;
  readonly kind: string;
  readonly losingOrigin: string | null;
  readonly winnerOrigin: string | null;
  readonly winnerStream: string | null;
  readonly winnerSequence: number | null;
  readonly losing: unknown;
}

async function conflictsOf(node: ClusterNode): Promise<ConflictJson[]> {
  return JSON.parse(await marmot(node, "conflicts", "-json"));
}

/** The one conflict of a kind. */
function onlyOne(conflicts: readonly ConflictJson[], kind: string): ConflictJson {
  const [conflict, ...others] = conflicts.filter((each) => each.kind === kind);
  assert.ok(conflict && others.length === 0, JSON.stringify(conflicts));
  return conflict;
}

function valuesOf(node: ClusterNode): unknown[] {
  return node.application.prepare("SELECT v FROM t ORDER BY id").all().map((row) => row["v"]);
}

function count(node: ClusterNode, table: string): number {
  return Number(node.application.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]);
}

async function waitForCount(node: ClusterNode, table: string, wanted: number): Promise<void> {
  await waitUntil(() => count(node, table) === wanted, {
    timeoutMs: 20_000,
    what: () =>
      `node ${node.id} has ${count(node, table)} rows in ${table}, not ${wanted}:\n${node.log.slice(-3000)}`,
  });
}

/** Publishes a message of node 99 in a format of the future, which every node puts into quarantine. */
async function publishOfFuture(
  cluster: Cluster,
  number: number,
  events: readonly ChangeEvent[],
): Promise<void> {
  await using publisher = await HandPublisher.connect(cluster.server);
  const body = encodeBody({ table: "t", columns: ["id", "v"], key: [0], uniqueSignature: "", events });
  const payload = encodeEnvelope({ origin: 99n, run: 1, number, top: 1, part: 0, parts: 1 }, body);
  await publisher.publish({ subject: "marmot-change-log-1.t", payload, format: "other/1" });
}

/** As after an upgrade to a release that reads the format. */
function upgrade(node: ClusterNode): void {
  node.sql(`UPDATE __marmot__quarantine SET format = '${BATCH_FORMAT}'`);
}

Deno.test("marmot quarantine retry takes up on a running node what an upgrade can read, and all nodes get it", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: FLAGS });
  const [one, two] = [cluster.node(1), cluster.node(2)];
  await publishOfFuture(cluster, 1, [{ kind: "upsert", row: [1n, "first"] }, {
    kind: "upsert",
    row: [2n, "x"],
  }]);
  await publishOfFuture(cluster, 2, [{ kind: "upsert", row: [1n, "second"] }]);
  for (const node of [one, two]) await waitForCount(node, "__marmot__quarantine", 2);
  one.sql("INSERT INTO other VALUES (1, 'another table goes on')");
  await cluster.converge();
  assert.match(await marmot(one, "quarantine"), /^2 {2}[^]*\n1 {2}/);
  assert.match(
    await marmot(one, "quarantine", "retry", "all"),
    /^0 messages applied, 2 stay in quarantine\.\n/,
  );
  upgrade(one);
  assert.equal(
    await marmot(one, "quarantine", "retry", "all"),
    "2 messages applied, 0 stay in quarantine.\n",
  );
  await waitForCount(two, "t", 2);
  const content = await cluster.converge();
  assert.deepEqual(valuesOf(two), ["second", "x"]);
  // The other node has it from there: its own would come too late.
  upgrade(two);
  assert.match(
    await marmot(two, "quarantine", "retry", "1"),
    /^0 messages applied, 1 stay in quarantine\.\n {2}1: later changes of its table/,
  );
  assert.equal(await marmot(two, "quarantine", "discard", "all", "-yes"), "2 messages discarded.\n");
  assert.deepEqual(await cluster.converge(), content);
});

Deno.test("a message in quarantine is not taken up over later changes, and no node differs for it", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: FLAGS });
  const [one, two] = [cluster.node(1), cluster.node(2)];
  await publishOfFuture(cluster, 1, [{ kind: "upsert", row: [1n, "old"] }]);
  for (const node of [one, two]) await waitForCount(node, "__marmot__quarantine", 1);
  two.sql("INSERT INTO t VALUES (1, 'new'); DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (2, 'two')");
  const content = await cluster.converge();
  assert.equal(count(one, "t"), 1);
  upgrade(one);
  assert.match(
    await marmot(one, "quarantine", "retry", "1"),
    /^0 messages applied, 1 stay in quarantine\.\n {2}1: later changes of its table were applied since/,
  );
  assert.deepEqual(await cluster.converge(), content);
  await one.stop();
  assert.match(await marmot(one, "quarantine", "retry", "1"), /^1 message marked\. No node has taken up /);
  const from = one.log.length;
  await one.start();
  await one.waitForLog(/message stays in quarantine message=1 /, { from });
  assert.deepEqual(await cluster.converge(), content);
});

Deno.test("marmot parked discard lets a table go on behind an event that never fits here", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, flags: FLAGS });
  const one = cluster.node(1);
  const strict = cluster.addNode({
    schema:
      "CREATE TABLE t (id INTEGER PRIMARY KEY, v CHECK (v > 0)); CREATE TABLE other (id INTEGER PRIMARY KEY, v)",
    flags: FLAGS,
  });
  await strict.start();
  one.sql("INSERT INTO t VALUES (1, -1)");
  await waitForCount(strict, "__marmot__parked", 1);
  one.sql("INSERT INTO t VALUES (2, 2)");
  await waitForCount(strict, "__marmot__parked", 2);
  assert.match(await marmot(strict, "parked"), /^t: 2 messages .* wait, [^]*CHECK constraint failed/);
  assert.match(await marmot(strict, "parked", "show", "t"), /\n {4}id = 1\n {4}v = -1\n/);
  assert.match(await marmot(strict, "parked", "discard", "t", "--yes"), /^1 message moved to the quarantine/);
  await waitForCount(strict, "t", 1);
  assert.equal(await marmot(strict, "parked"), "No table is parked.\n");
  assert.match(await marmot(strict, "quarantine"), /discarded by the operator/);
  one.sql("UPDATE t SET v = 1 WHERE id = 1");
  await cluster.converge();
});

Deno.test("marmot pause lets running nodes be migrated, and what was written meanwhile reaches all", async () => {
  const schema =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, code, v); CREATE UNIQUE INDEX by_code ON t (code);" +
    "INSERT INTO t VALUES (1, 'a', 'one')";
  await using cluster = await Cluster.start({ nodes: 2, schema, flags: FLAGS });
  const [one, two] = [cluster.node(1), cluster.node(2)];
  const migration = "BEGIN; DROP INDEX by_code; ALTER TABLE t DROP COLUMN code; COMMIT";
  assert.throws(() => one.sql(migration), /code/);
  one.sql("ROLLBACK");
  assert.match(
    await marmot(one, "pause"),
    /^Paused: \d+ triggers were removed, the others go on capturing\.\n/,
  );
  await one.waitForLog(/WARN .*paused for a migration/);
  two.sql("INSERT INTO t VALUES (10, 'j', 'of the other node')");
  await waitUntil(() => two.countPending() === 0, {
    timeoutMs: 20_000,
    what: () => `node 2 does not read its own change back:\n${two.log.slice(-3000)}`,
  });
  one.sql(migration);
  one.sql("INSERT INTO t VALUES (2, 'in the pause'); UPDATE t SET v = 'ONE' WHERE id = 1");
  assert.equal(count(one, "t"), 2, "a paused node applies nothing");
  // A node that starts in the pause is paused too.
  await one.stop();
  const from = one.log.length;
  await one.start({ isAwaited: false });
  await one.waitForLog(/WARN .*paused for a migration/, { from });
  assert.match(await marmot(two, "pause"), /^Paused: /);
  two.sql(migration);
  two.sql("INSERT INTO t VALUES (11, 'on both in the pause')");
  // Whichever ends first: what was written in a pause is captured, so no image of the other node goes over it.
  for (const node of [two, one]) {
    assert.equal(await marmot(node, "pause", "--end"), "The pause is over, and the node replicates again.\n");
    await node.waitForLog(/ replicating/, { from: node === one ? from : 0 });
    await waitUntil(() => node.countPending() === 0, {
      timeoutMs: 20_000,
      what: () => `node ${node.id} does not publish what it found:\n${node.log.slice(-3000)}`,
    });
  }
  await waitForCount(one, "t", 4);
  await waitForCount(two, "t", 4);
  await cluster.converge();
  assert.deepEqual(valuesOf(two), ["ONE", "in the pause", "of the other node", "on both in the pause"]);
});

Deno.test("marmot conflicts tells beside running nodes which row lost, to whom, where and why", async () => {
  const schema = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, v);" +
    "INSERT INTO users VALUES (1, 'first', 'old')";
  await using cluster = await Cluster.start({ nodes: 2, schema, flags: FLAGS });
  const [one, two] = [cluster.node(1), cluster.node(2)];
  await cluster.converge();
  assert.equal(await marmot(one, "conflicts"), "No conflicts are on record.\n");
  // Node 2 writes the same row and the same UNIQUE value while it is away, and publishes behind node 1.
  await two.stop();
  one.sql("UPDATE users SET v = 'of node 1' WHERE id = 1; INSERT INTO users VALUES (10, 'wanted', x'00ff')");
  await waitUntil(() => one.countPending() === 0, {
    timeoutMs: 20_000,
    what: () => `node 1 does not read its own changes back:\n${one.log.slice(-3000)}`,
  });
  two.sql("UPDATE users SET v = 'of node 2' WHERE id = 1; INSERT INTO users VALUES (20, 'wanted', 2.5)");
  await two.start();
  await cluster.converge();
  assert.deepEqual(one.application.prepare("SELECT id, v FROM users ORDER BY id").all().map(Object.values), [
    [1, "of node 2"],
    [20, 2.5],
  ]);

  const displaced = onlyOne(await conflictsOf(one), "displaced");
  assert.deepEqual([displaced.losingOrigin, displaced.winnerOrigin], [null, "2"]);
  assert.deepEqual(displaced.losing, [{
    kind: "upsert",
    rows: [{ id: { integer: "10" }, name: { text: "wanted" }, v: { blob: "00ff" } }],
  }]);
  const overwritten = onlyOne(await conflictsOf(two), "overwritten");
  assert.deepEqual([overwritten.losingOrigin, overwritten.winnerOrigin], ["1", "2"]);
  assert.deepEqual(overwritten.losing, [{
    kind: "upsert",
    rows: [{ id: { integer: "1" }, name: { text: "first" }, v: { text: "of node 1" } }],
  }]);
  // The winner stands where the stream has it: node 2 learns the place from its own echo.
  assert.deepEqual(overwritten.winnerStream, displaced.winnerStream);
  assert.ok(Number(overwritten.winnerSequence) > 0, JSON.stringify(overwritten));

  const place = `sequence ${displaced.winnerSequence} of ${displaced.winnerStream}`;
  const list = await marmot(one, "conflicts");
  assert.ok(list.includes(`  users: a row here lost to node 2 (${place})\n`), list);
  assert.ok(list.includes("\n    id = 10, name = \"wanted\", v = x'00ff'\n"), list);
  const shown = await marmot(two, "conflicts", "show", String(overwritten.id));
  assert.match(shown, new RegExp(`^conflict ${overwritten.id} in table users, `));
  assert.match(shown, /\n {2}a change of node 1 lost to node 2 \(sequence \d+ of [^ ]+\)\n/);
  assert.match(shown, /why: a change of the same row on the winning node stands later in the stream\n/);
  assert.match(shown, /\n {4}id = 1\n {4}name = "first"\n {4}v = "of node 1"\n/);
  assert.deepEqual(
    JSON.parse(await marmot(two, "conflicts", "show", String(overwritten.id), "-json")),
    overwritten,
  );
});

Deno.test("marmot quarantine show tells beside a running node what cannot be read of a message, and its bytes", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, flags: FLAGS });
  const one = cluster.node(1);
  await using publisher = await HandPublisher.connect(cluster.server);
  const payload = new TextEncoder().encode("no batch \u001b[2J");
  const sequence = await publisher.publish({
    subject: "marmot-change-log-1.t",
    payload,
    format: BATCH_FORMAT,
  });
  await waitForCount(one, "__marmot__quarantine", 1);
  const shown = await marmot(one, "quarantine", "show", "1");
  assert.match(shown, new RegExp(`^1 {2}.* sequence ${sequence} of [^ ]+, ${payload.length} bytes\n`));
  assert.match(
    shown,
    /\n {2}subject marmot-change-log-1\.t, format batch\/1\n {2}why: the envelope is not an array\n/,
  );
  assert.match(shown, /\n {2}not readable: the envelope is not an array\n/);
  assert.ok(shown.endsWith(`\n    ${payload.toHex()}\n`), shown);
  const json = JSON.parse(await marmot(one, "quarantine", "show", "1", "-json"));
  assert.deepEqual([json.id, json.sequence, json.format, json.payload], [
    1,
    sequence,
    BATCH_FORMAT,
    payload.toHex(),
  ]);
  one.sql("INSERT INTO t VALUES (1, 'the table goes on')");
  await waitUntil(() => one.countPending() === 0, {
    timeoutMs: 20_000,
    what: () => `node 1 does not go on behind the message:\n${one.log.slice(-3000)}`,
  });
});
