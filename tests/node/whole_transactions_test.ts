/**
 * With one shard replicas see whole transactions of the application only: money that moves between the rows of two tables
 * is the same sum at every commit.
 */
import assert from "node:assert/strict";
import { Replica } from "../../src/db/replica.ts";
import { Random } from "../simulation/random.ts";
import { Rollout } from "./rollout.ts";

const ACCOUNTS = 1500;
const TOTAL = ACCOUNTS * 100;
const ROWS = `WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${ACCOUNTS / 3}) `;
const SCHEMA = ["checking", "savings", "cash"].map((name) =>
  `CREATE TABLE ${name} (id INTEGER PRIMARY KEY, balance INT); INSERT INTO ${name} ${ROWS} SELECT i, 100 FROM n`
).join("; ");
const SUM = "SELECT (SELECT sum(balance) FROM checking) + (SELECT sum(balance) FROM savings) " +
  "+ (SELECT sum(balance) FROM cash)";

/** Calls back after every commit of apply, of any replica. */
function watchCommits(onCommit: (replica: Replica) => void): Disposable {
  const { apply } = Replica.prototype;
  Replica.prototype.apply = function (...messages) {
    const outcome = apply.apply(this, messages);
    onCommit(this);
    return outcome;
  };
  return {
    [Symbol.dispose]: () => {
      Replica.prototype.apply = apply;
    },
  };
}

function drawTransfer(random: Random): string {
  const [from, to] = [random.pick(["checking", "savings", "cash"]), random.pick(["savings", "cash"])];
  const amount = random.below(50);
  // Some touch all rows of two tables: more than one message, and more than one scan.
  const [a, b] = [1 + random.below(ACCOUNTS / 3), 1 + random.below(ACCOUNTS / 3)];
  const [ofA, ofB] = random.chance(0.2) ? ["", ""] : [` WHERE id = ${a}`, ` WHERE id = ${b}`];
  return `BEGIN IMMEDIATE; UPDATE ${from} SET balance = balance - ${amount}${ofA}; ` +
    `UPDATE ${to} SET balance = balance + ${amount}${ofB}; COMMIT`;
}

async function transfer(shards: number, seed: number): Promise<{ commits: number; torn: number }> {
  using world = new Rollout({ nodes: 2, schema: SCHEMA, seed, shards });
  const { random } = world;
  await world.rest();
  world.server.network = { ackLost: 0, late: 0, lost: 0, latencyMs: random.pick([2, 20, 60]) };
  let commits = 0;
  let torn = 0;
  using _watching = watchCommits((replica) => {
    if (replica.nodeId !== 2n) return;
    commits++;
    if (Number(world.rows(2, SUM)[0]?.[0]) !== TOTAL) torn++;
  });
  for (let left = 30; left > 0; left--) {
    world.sql(1, drawTransfer(random));
    await world.time.pass(random.pick([0, 2, 10, 50, 400]));
  }
  await world.converge();
  return { commits, torn };
}

Deno.test("with one shard a replica never shows part of a transaction", async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const { commits, torn } = await transfer(1, seed);
    assert.ok(commits > 5, `seed ${seed}: ${commits} commits are too few to tell`);
    assert.equal(torn, 0, `seed ${seed}: ${torn} of ${commits} commits show part of a transaction`);
  }
});

Deno.test("with several shards it does: the test above can fail", async () => {
  let torn = 0;
  for (let seed = 1; seed <= 3; seed++) torn += (await transfer(3, seed)).torn;
  assert.ok(torn > 0);
});

Deno.test("the rest of a group that never comes is waited for a second, not for ever", async () => {
  using world = new Rollout({ nodes: 2, schema: SCHEMA, shards: 1 });
  await world.rest();
  world.sql(
    1,
    "BEGIN IMMEDIATE; UPDATE checking SET balance = 7 WHERE id = 1; UPDATE cash SET balance = 8; COMMIT",
  );
  while (world.server.lastSequence(1) === 0) await world.time.pass(1);
  world.node(1).crash();
  // The node ended when the first message was on its way, and the others were not.
  world.server.rollBack(1, world.server.log(1).length - 1);
  await world.time.pass(500);
  assert.deepEqual(world.rows(2, "SELECT balance FROM checking WHERE id = 1"), [[100]]);
  await world.time.pass(1500);
  assert.deepEqual(world.rows(2, "SELECT balance FROM checking WHERE id = 1"), [[7]]);
  world.node(1).start(world);
  await world.converge();
  assert.deepEqual(world.rows(2, "SELECT min(balance), max(balance) FROM cash"), [[8, 8]]);
});
