/** Verify never reports a row of nodes that are sound, whenever it looks and whatever is written meanwhile. */
import assert from "node:assert/strict";
import { compareSources, type LostCopy } from "../../src/node/verify/comparison.ts";
import { takeSnapshots } from "../../src/node/verify/live_verify.ts";
import { NodeSource } from "../../src/node/verify/node_source.ts";
import { HAND_TABLES } from "../simulation/tables.ts";
import { drawTransaction, type Workload } from "../simulation/workload.ts";
import { VerifyWorld } from "./verify_world.ts";

const SEEDS = 6;
const LOOKS = 4;
const NODES = 3;
const WORKLOAD: Workload = {
  tables: HAND_TABLES,
  owner: 0,
  keys: 4,
  values: [0, 40],
  isNarrow: false,
  gained: [],
};

for (let seed = 1; seed <= SEEDS; seed++) {
  Deno.test(`verify finds nothing between ${NODES} sound nodes that write, seed ${seed}`, async () => {
    using world = new VerifyWorld({
      schema: HAND_TABLES.map(({ sql }) => sql).join("; "),
      nodes: NODES,
      shards: 1 + seed % 3,
      seed,
    });
    const { random } = world;
    world.server.network = { ackLost: 0.05, late: 0.02, lost: 0.05, latencyMs: 1 + random.below(30) };
    const write = (chance: number) => {
      for (let node = 1; node <= NODES; node++) {
        if (!random.chance(chance)) continue;
        for (const sql of drawTransaction(random, WORKLOAD)) execute(world, node, sql);
      }
    };
    // What is written before the tables are armed belongs to the common starting point.
    await world.time.pass(1000);
    let compared = 0;
    for (let look = 0; look < LOOKS; look++) {
      const busyMs = 50 + random.below(500);
      for (let ms = 0; ms < busyMs; ms += 10) {
        write(0.2);
        await world.time.pass(10);
      }
      // Some looks come while all is on its way, others when little is.
      await world.time.pass(random.pick([0, 5, 50, 3000]));
      compared += await verify(world, () => write(0.08));
    }
    assert.ok(compared > 0, "no row was ever compared");
  });
}

/** Compares the nodes while `write` goes on, and returns how many rows were looked at. */
async function verify(world: VerifyWorld, write: () => void): Promise<number> {
  const sources = world.nodes.map((_, i) =>
    new NodeSource({
      nodeId: BigInt(i + 1),
      session: `look at ${world.time.nowMs}`,
      questions: {
        ask: async (nodeId, question) => {
          await onTheWay(world);
          const answer = await world.at(Number(nodeId)).service.answer(question);
          await onTheWay(world);
          return answer;
        },
      },
      stop: new AbortController().signal,
    })
  );
  const lost: LostCopy[] = [];
  const standing = await world.during(takeSnapshots(sources, lost), write);
  const { tables } = await world.during(compareSources(standing, { limit: 5, lost }), write);
  await world.during(Promise.all(sources.map((source) => source.close())));
  assert.deepEqual(lost, []);
  for (const table of tables) assert.equal(table.verdict, "equal", JSON.stringify(table, null, 1));
  const rows = tables.flatMap((table) => table.rows.map((each) => each.rows)).reduce((a, b) => a + b, 0);
  const leftOut = tables.reduce((count, table) => count + table.pendingKeys + table.hiddenKeys, 0);
  return Math.max(0, rows - NODES * leftOut);
}

/** Questions and answers take their time, another one to each node. */
function onTheWay({ time, random }: VerifyWorld): Promise<void> {
  return new Promise((resolve) => time.schedule(random.below(20), resolve));
}

function execute(world: VerifyWorld, node: number, sql: string): void {
  try {
    world.at(node).application.exec(sql);
  } catch (error) {
    // A constraint that the application runs into is its own affair.
    if (!/constraint failed|datatype mismatch|locked/.test(String(error))) throw error;
  }
}
