/** A node that crashes again and again while applications write on it and beside it. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { Cluster } from "../support/cluster.ts";
import { announcedRandom } from "../support/random.ts";
import { Writers, WRITERS_SCHEMA } from "../support/writers.ts";

const CRASHES = 20;
/** A start takes about 300 ms: some crashes hit it, most hit a node that catches up. */
const LARGEST_LIFE_MS = 1_000;

Deno.test("a node killed and started twenty times in a row under load loses nothing", async () => {
  const random = announcedRandom("crash loop");
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  await using writers = new Writers(cluster.nodes, { perNode: 2, random });
  const crashing = cluster.node(2);
  for (let crash = 1; crash <= CRASHES; crash++) {
    await delay(random.below(LARGEST_LIFE_MS));
    assert.ok(
      crashing.isRunning,
      `the node ended by itself before crash ${crash}:\n${crashing.log.slice(-2000)}`,
    );
    await crashing.kill();
    await crashing.start({ isAwaited: false });
  }
  await writers.progress(20);
  await writers.stop();
  await cluster.converge({ timeoutMs: 60_000 });
  assert.deepEqual(writers.findLoss(cluster), []);
  for (const node of cluster.nodes) {
    const checked = node.application.prepare("PRAGMA integrity_check").get();
    assert.equal(checked?.["integrity_check"], "ok");
    assert.equal(await node.stop(), 0);
  }
});
