/** The main job on real processes: two and three nodes, all writing, end identical. */
import assert from "node:assert/strict";
import { Cluster } from "../support/cluster.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v, n INTEGER DEFAULT 0)";

for (let repetition = 1; repetition <= 10; repetition++) {
  const nodes = repetition % 2 === 0 ? 3 : 2;
  Deno.test(`${nodes} nodes that write disjoint and the same rows end identical, repetition ${repetition}`, async () => {
    await using cluster = await Cluster.start({ nodes, schema: SCHEMA });
    const rows = 300;
    for (let i = 0; i < rows; i++) {
      for (const node of cluster.nodes) {
        const id = node.id * 1_000_000 + i;
        node.application.prepare("INSERT INTO t (id, v) VALUES (?, ?)").run(
          id,
          `row ${i} of node ${node.id}`,
        );
        const hot = i % 7;
        node.application.prepare(
          "INSERT INTO t (id, v) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET v = excluded.v, n = n + 1",
        )
          .run(hot, `node ${node.id} at ${i}`);
        if (i % 50 === 49) node.application.prepare("DELETE FROM t WHERE id = ?").run(hot);
      }
      if (i % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await cluster.converge();
    for (const node of cluster.nodes) {
      const counted = node.application.prepare("SELECT count(*) AS n FROM t WHERE id >= 1000000").get();
      assert.equal(counted?.["n"], rows * nodes, `node ${node.id} misses uncontended rows`);
    }
    for (const node of cluster.nodes) assert.equal(await node.stop(), 0);
  });
}
