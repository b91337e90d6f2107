/**
 * UNIQUE indexes that come and go on one node after the other, in both orders, while all write rows that clash. Rules:
 * docs/design.md, "UNIQUE tables".
 */
import assert from "node:assert/strict";
import { Rollout } from "./rollout.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT, v TEXT)";
const CREATE = "CREATE UNIQUE INDEX t_u ON t (u)";
const DROP = "DROP INDEX t_u";

const all = (world: Rollout, id: number) => world.rows(id, "SELECT id, u, v FROM t ORDER BY id");

Deno.test("a row that a node without the index writes over a row of a node with it wins on both", async () => {
  using world = new Rollout({ nodes: 2, schema: SCHEMA });
  world.sql(1, `INSERT INTO t VALUES (1, 'x', 'a'); ${CREATE}`);
  await world.rest();
  world.sql(2, "INSERT INTO t VALUES (2, 'x', 'b')");
  await world.converge();
  assert.deepEqual(all(world, 2), [[2, "x", "b"]]);
  world.sql(2, CREATE);
  await world.converge();
  assert.deepEqual(all(world, 1), [[2, "x", "b"]]);
  assert.deepEqual(world.rows(1, "SELECT kind FROM __marmot__conflict"), [["displaced"]]);
});

Deno.test("clashing rows on both nodes when the index is created on one: the later in the stream stays", async () => {
  using world = new Rollout({ nodes: 2, schema: SCHEMA });
  await world.rest();
  world.sql(2, "INSERT INTO t VALUES (2, 'x', 'b')");
  world.sql(1, `INSERT INTO t VALUES (1, 'x', 'a'); ${CREATE}`);
  await world.converge();
  assert.equal(all(world, 1).length, 1);
  world.sql(2, CREATE);
  await world.converge();
});

Deno.test("a pending row hides the row of a node without the index, which is then gone everywhere", async () => {
  using world = new Rollout({ nodes: 2, schema: SCHEMA });
  world.sql(1, CREATE);
  await world.rest();
  const cut = world.node(1).streams;
  assert.ok(cut);
  cut.isCutOff = true;
  cut.interrupt();
  world.sql(1, "INSERT INTO t VALUES (1, 'x', 'a')");
  world.sql(2, "INSERT INTO t VALUES (2, 'x', 'b')");
  await world.time.pass(2000);
  cut.isCutOff = false;
  cut.interrupt();
  await world.converge();
  assert.deepEqual(all(world, 2), [[1, "x", "a"]]);
});

Deno.test("the first node that drops the index writes a second row of a value: the last node with it decides", async () => {
  using world = new Rollout({ nodes: 2, schema: `${SCHEMA}; ${CREATE}; INSERT INTO t VALUES (1, 'x', 'a')` });
  await world.rest();
  world.sql(1, `${DROP}; INSERT INTO t VALUES (2, 'x', 'b')`);
  await world.converge();
  assert.deepEqual(all(world, 1), [[2, "x", "b"]]);
  world.sql(2, `${DROP}; INSERT INTO t VALUES (3, 'x', 'c')`);
  await world.converge();
  assert.deepEqual(all(world, 1), [[2, "x", "b"], [3, "x", "c"]]);
});

Deno.test("what two nodes with the index displace is gone on a node that has dropped it in silence", async () => {
  using world = new Rollout({ nodes: 3, schema: `${SCHEMA}; ${CREATE}` });
  await world.rest();
  world.sql(1, DROP);
  await world.rest();
  for (const id of [2, 3]) world.sql(id, `INSERT INTO t VALUES (${id}, 'x', 'of ${id}')`);
  await world.rest();
  assert.equal(all(world, 1).length, 2, "node 1 displaces nobody, and nobody knows that yet");
  assert.equal(all(world, 2).length, 1);
  world.sql(1, "INSERT INTO t VALUES (9, 'nine', '')");
  await world.converge();
  assert.equal(all(world, 1).length, 2);
});

Deno.test("the same, when that node never writes and the others drop the index", async () => {
  using world = new Rollout({ nodes: 3, schema: `${SCHEMA}; ${CREATE}` });
  await world.rest();
  world.sql(1, DROP);
  await world.rest();
  for (const id of [2, 3]) world.sql(id, `INSERT INTO t VALUES (${id}, 'x', 'of ${id}')`);
  await world.rest();
  assert.equal(all(world, 1).length, 2);
  for (const id of [2, 3]) world.sql(id, DROP);
  await world.converge();
  assert.equal(all(world, 1).length, 1);
});

Deno.test("a hidden row comes out when the index is dropped here", async () => {
  using world = new Rollout({ nodes: 2, schema: `${SCHEMA}; ${CREATE}` });
  await world.rest();
  world.sql(1, DROP);
  world.sql(2, "BEGIN IMMEDIATE; INSERT INTO t VALUES (2, 'x', 'b'); COMMIT");
  world.sql(1, "INSERT INTO t VALUES (1, 'x', 'a')");
  world.sql(2, DROP);
  await world.converge();
});

const ORDERS = [[1, 2, 3], [3, 2, 1], [2, 3, 1]];

for (const nodes of [2, 3]) {
  for (const change of ["create", "drop", "create and drop", "drop and create"]) {
    Deno.test(`${nodes} nodes ${change} an index one after the other, and all write clashing rows`, async () => {
      for (let seed = 1; seed <= 12; seed++) {
        try {
          await roll({ nodes, change, seed });
        } catch (error) {
          throw new Error(`seed ${seed}`, { cause: error });
        }
      }
    });
  }
}

async function roll({ nodes, change, seed }: { nodes: number; change: string; seed: number }): Promise<void> {
  const begin = change.startsWith("drop") ? `${SCHEMA}; ${CREATE}` : SCHEMA;
  using world = new Rollout({ nodes, schema: begin, seed, shards: 1 + seed % 2 });
  const { random } = world;
  world.server.network = { ackLost: 0.05, late: 0.05, lost: 0.05, latencyMs: random.pick([2, 20]) };
  const write = async () => {
    for (let left = random.below(16); left > 0; left--) {
      const id = 1 + random.below(nodes);
      const value = random.pick(["'x'", "'y'", "'z'", "NULL"]);
      const row = `(${random.below(6)}, ${value}, '${random.below(1000)}')`;
      world.sql(
        id,
        random.pick([
          `INSERT OR REPLACE INTO t VALUES ${row}`,
          `INSERT OR REPLACE INTO t VALUES ${row}`,
          `UPDATE OR IGNORE t SET u = ${value} WHERE id = ${random.below(6)}`,
          `DELETE FROM t WHERE id = ${random.below(6)}`,
        ]),
      );
      await world.time.pass(random.pick([0, 0, 0, 1, 5, 20]));
    }
  };
  const order = (ORDERS[seed % 3] ?? []).filter((id) => id <= nodes);
  for (const step of change.split(" and ")) {
    for (const id of order) {
      await write();
      // The application makes room for the index, in the transaction that creates it.
      world.sql(
        id,
        step === "drop"
          ? DROP
          : `BEGIN IMMEDIATE; DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY coalesce(u, id)); ${CREATE}; COMMIT`,
      );
      // Until the triggers know the index, SQLite tells nobody which rows REPLACE removes because of it.
      await world.time.pass(20);
      await write();
    }
  }
  await world.converge();
}
