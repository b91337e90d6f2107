/**
 * Applications that open the database for one statement and close it again, as scripts and the sqlite3 shell do. Then no
 * connection but Marmot's keeps the -wal file alive, and that only as long as its locks on the files hold: closing any
 * other handle of a database file in Marmot's process would drop them all.
 * Source: https://www.sqlite.org/howtocorrupt.html, section 2.2.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";

const WRITES = 15;
const WRITER = `
  import { DatabaseSync } from "node:sqlite";
  const [path, id] = Deno.args;
  const database = new DatabaseSync(path, { timeout: 10000 });
  database.prepare("INSERT INTO t (id, v) VALUES (?, 'one shot')").run(Number(id));
  database.close();
`;

/** A process of its own per write. */
async function writeOnce(node: ClusterNode, id: number): Promise<void> {
  const args = ["eval", "--quiet", WRITER, node.path, String(id)];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, stderr: "piped" }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

function countRows(node: ClusterNode): number {
  const database = new DatabaseSync(node.path, { readOnly: true });
  try {
    return Number(database.prepare("SELECT count(*) AS n FROM t").get()?.["n"]);
  } finally {
    database.close();
  }
}

Deno.test("nothing is lost when every write is a process of its own and no other connection is open", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
    isStarted: false,
  });
  for (const node of cluster.nodes) node.application.close();
  for (const node of cluster.nodes) await node.start();
  for (let i = 1; i <= WRITES; i++) {
    await Promise.all(cluster.nodes.map((node) => writeOnce(node, node.id * 1000 + i)));
    for (const node of cluster.nodes) {
      assert.ok(existsSync(`${node.path}-wal`), `the -wal file of node ${node.id} was deleted under it`);
    }
  }
  const counts = () => cluster.nodes.map(countRows).join(", ");
  await waitUntil(() => counts() === `${2 * WRITES}, ${2 * WRITES}`, {
    timeoutMs: 10_000,
    what: () => `the nodes have ${counts()} rows\n${cluster.nodes.map((node) => node.log).join("\n")}`,
  });
});
