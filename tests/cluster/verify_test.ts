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
