/** A node that comes back gets its word in although others write the same table without a pause. */
import { Cluster, waitUntil } from "../support/cluster.ts";
import { announcedRandom } from "../support/random.ts";
import { Writers, WRITERS_SCHEMA } from "../support/writers.ts";

const ROUNDS = 5;
const TIMEOUT_MS = 20_000;

Deno.test("what a node had not published before it was killed comes through while the others go on writing", async () => {
  const random = announcedRandom("contention");
  await using cluster = await Cluster.start({ nodes: 3, schema: WRITERS_SCHEMA });
  const back = cluster.node(3);
  await using writers = new Writers([cluster.node(1), cluster.node(2)], { perNode: 3, random });
  await writers.progress(20);
  const has = (node: number, id: number) =>
    cluster.node(node).application.prepare("SELECT 1 FROM t WHERE id = ?").get(id) !== undefined;
  for (let id = -1; id >= -ROUNDS; id--) {
    await back.kill();
    back.sql(`INSERT INTO t (id, v) VALUES (${id}, 'written while the node was down')`);
    await back.start();
    const startedAt = performance.now();
    await waitUntil(() => has(1, id) && has(2, id), {
      timeoutMs: TIMEOUT_MS,
      what: () => back.log.slice(-3000),
    });
    console.log(`came through after ${Math.round(performance.now() - startedAt)} ms`);
  }
});
