/** `marmot verify` beside three real nodes that go on writing. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { runCommand } from "../support/command_run.ts";
import { Cluster, type ClusterNode } from "../support/cluster.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v, n INTEGER DEFAULT 0); " +
  "CREATE TABLE notes (id TEXT PRIMARY KEY COLLATE NOCASE, body); " +
  "CREATE TABLE keyless (a, b)";

function verify(cluster: Cluster, ...flags: string[]) {
  return runCommand(["verify", "-nats-url", cluster.server.url, ...flags]);
}

/** Writes on every node until it is disposed of. */
function keepWriting(cluster: Cluster): AsyncDisposable & { readonly written: number } {
  const stop = new AbortController();
  let written = 0;
  const run = async () => {
    for (let i = 0; !stop.signal.aborted; i++) {
      for (const { id, application } of cluster.nodes) {
        application.prepare("INSERT INTO t (id, v) VALUES (?, ?)").run(
          id * 10_000_000 + i,
          `node ${id}, ${i}`,
        );
        application.prepare("UPDATE t SET n = n + 1, v = ? WHERE id = ?").run(`${id} ${i}`, i % 40);
        written += 2;
      }
      await delay(1);
    }
  };
  const running = run();
  return {
    get written() {
      return written;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

function fill(node: ClusterNode): void {
  node.sql(
    "WITH RECURSIVE c(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM c WHERE i < 4999) " +
      "INSERT INTO t (id, v) SELECT i, 'row ' || i FROM c",
  );
  node.sql("INSERT INTO notes VALUES ('first', x'00ff'), ('Second', 1.0)");
  node.sql("INSERT INTO keyless (rowid, a, b) VALUES (7, 1, NULL)");
}

/** Changes rows as no trigger sees it, so that nobody is told. */
function changeBehindMarmot(node: ClusterNode, sql: string): void {
  const triggers = node.application.prepare(
    "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\'",
  ).all();
  assert.ok(triggers.length > 0);
  node.sql("BEGIN IMMEDIATE");
  for (const { name } of triggers) node.sql(`DROP TRIGGER "${name}"`);
  node.sql(sql);
  for (const trigger of triggers) node.sql(String(trigger["sql"]));
  node.sql("COMMIT");
}

Deno.test("verify says that three writing nodes are equal, and names a row that was changed behind Marmot on one", async () => {
  await using cluster = await Cluster.start({ nodes: 3, schema: SCHEMA });
  fill(cluster.node(1));
  await cluster.converge();
  {
    await using writing = keepWriting(cluster);
    for (let i = 0; i < 3; i++) {
      const before = writing.written;
      const { code, output, error } = await verify(cluster);
      assert.equal(code, 0, output + error);
      assert.match(output, /^compared: node 1, node 2, node 3\ncursors: all copies have read the same\n/);
      assert.match(output, /\ntable notes: equal, 2 rows\n/);
      assert.match(output, /\nequal: 3 tables\n$/);
      assert.ok(writing.written > before, "nobody wrote meanwhile");
    }
    changeBehindMarmot(
      cluster.node(2),
      "UPDATE t SET v = CAST(v AS BLOB) WHERE id = 4321; DELETE FROM t WHERE id = 4322",
    );
    changeBehindMarmot(cluster.node(3), "UPDATE notes SET id = 'SECOND' WHERE id = 'second'");
    const { code, output } = await verify(cluster);
    assert.equal(code, 3, output);
    assert.match(output, /\n {2}id = 4321: node 2 differs from node 1, node 3\n/);
    assert.match(output, /\n {2}id = 4322: missing on node 2\n/);
    assert.match(output, /\n {2}id = "(Second|SECOND)": node 3 differs from node 1, node 2\n/);
    assert.match(output, /\ntable keyless: equal, 1 rows\n/);
    assert.match(output, /\ndifferent: 2 of 3 tables\n$/);
    const json = JSON.parse((await verify(cluster, "-json", "-limit", "1")).output);
    assert.equal(json.verdict, "different");
    const table = json.tables.find((each: { name: string }) => each.name === "t");
    assert.equal(table.differences.length, 1);
    assert.equal(table.differingKeys, 2);
  }
  for (const node of cluster.nodes) assert.equal(await node.stop(), 0, node.log);
});

Deno.test("verify names the nodes that do not take part, and is not held up by them", async () => {
  await using cluster = await Cluster.start({ nodes: 3, schema: SCHEMA });
  for (const { id, application } of cluster.nodes) application.exec(`INSERT INTO t VALUES (${id}, 'x', 0)`);
  await cluster.converge();
  cluster.node(3).pause();
  try {
    const { code, output } = await verify(cluster);
    assert.equal(code, 0, output);
    assert.match(output, /^compared: node 1, node 2\n/);
    assert.match(output, /\nnot asked, though their changes were read: node 3\n/);
  } finally {
    cluster.node(3).resume();
  }
  await cluster.node(2).stop();
  await cluster.node(3).stop();
  const alone = await verify(cluster);
  assert.equal(alone.code, 1, alone.output);
  assert.match(alone.output, /\nincomplete: there is no other copy to compare with\n$/);
  await cluster.node(1).stop();
  const nobody = await verify(cluster);
  assert.equal(nobody.code, 1);
  assert.match(nobody.error, /^marmot: Cannot verify: no node answers below "marmot-changes"\n/);
});

Deno.test("a node that dies while it is compared is named, and the others are compared", async () => {
  await using cluster = await Cluster.start({ nodes: 3, schema: SCHEMA, isStarted: false });
  for (const { application } of cluster.nodes) {
    application.exec(
      "WITH RECURSIVE c(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM c WHERE i < 300000) INSERT INTO t (id, v) SELECT i, i FROM c",
    );
  }
  await Promise.all(cluster.nodes.map((node) => node.start()));
  const from = cluster.node(2).log.length;
  const verifying = verify(cluster);
  await cluster.node(2).waitForLog(/tables are compared by marmot verify/, { from });
  await cluster.node(2).kill();
  const { code, output } = await verifying;
  assert.equal(code, 1, output);
  assert.match(
    output,
    /\nnot compared to the end: node 2: it (is no longer there|has not answered for \d+ s)\n/,
  );
  assert.match(output, /\ntable t: equal, 300001 rows\n/);
});

Deno.test("verify works where the broker takes small messages only, and nodes replicate where it lets nobody be asked", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: SCHEMA,
    server: { maxPayloadBytes: 16 * 1024 },
  });
  fill(cluster.node(1));
  await cluster.converge();
  changeBehindMarmot(cluster.node(2), "UPDATE t SET v = 'other' WHERE id % 100 = 0");
  const { code, output } = await verify(cluster, "-limit", "100");
  assert.equal(code, 3, output);
  assert.equal(output.match(/\n {2}id = \d+: node 2 differs from node 1/g)?.length, 50, output);

  const config =
    "authorization { users: [{ user: u, password: p, permissions: { subscribe: { deny: '*.verify.>' } } }] }";
  await using closed = await Cluster.start({ nodes: 0, schema: SCHEMA, server: { config } });
  const url = `nats://u:p@127.0.0.1:${closed.server.port}`;
  const node = closed.addNode({ schema: SCHEMA, flags: ["-nats-url", url] });
  await node.start();
  await node.waitForLog(/marmot verify cannot ask this node, replication goes on/);
  node.sql("INSERT INTO t VALUES (1, 'x', 0)");
  await closed.converge();
});

Deno.test("verify compares what nodes of the original's format replicate over all shards", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: SCHEMA,
    flags: ["-wire-format", "v0.6", "-compress"],
  });
  fill(cluster.node(1));
  await cluster.converge();
  const { code, output } = await verify(cluster);
  assert.equal(code, 0, output);
  assert.match(output, /\ntable t: equal, 5000 rows\n/);
});
