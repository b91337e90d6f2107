/**
 * Schema changes rolled out on one node after the other, in every order, with writes on all nodes at every stage: what
 * does not fit waits, and in the end all nodes are equal.
 */
import assert from "node:assert/strict";
import { Connection } from "../../src/db/connection.ts";
import { discardWaiting } from "../../src/db/operator/parked_tables.ts";
import { shardOfTable } from "../../src/wire/routing.ts";
import { subjectOf } from "../simulation/memory_server.ts";
import { Rollout } from "./rollout.ts";

/** One step of a rollout, and how applications write once their node has made it. `n` is another number each time. */
interface Step {
  readonly sql: string;
  readonly write: (n: number) => string;
}

interface Case {
  readonly name: string;
  readonly schema: string;
  /** How applications write before the first step. */
  readonly before: (n: number) => string;
  readonly steps: readonly Step[];
  /** How long messages may wait for a table that was dropped: it may be half of a rebuild. */
  readonly lingerMs?: number;
  /** Each step is made on all nodes, and read by all, before the next: one name means two columns. */
  readonly isStepwise?: boolean;
}

/** Writes on a table of these columns, on few rows, so that nodes meet. */
function writes(table: string, ...columns: string[]): (n: number) => string {
  return (n) => {
    const id = n % 4;
    const values = columns.map((column) => `'${column}${n}'`);
    if (n % 7 === 0) return `DELETE FROM ${table} WHERE id = ${id}`;
    if (n % 3 === 0) return `UPDATE ${table} SET ${columns[0]} = ${values[0]} WHERE id = ${id}`;
    return `INSERT OR REPLACE INTO ${table} (id, ${columns.join(", ")}) VALUES (${id}, ${values.join(", ")})`;
  };
}

const nothing = () => "";
const T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT)";

const CASES: readonly Case[] = [
  {
    name: "ADD COLUMN",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [{ sql: "ALTER TABLE t ADD COLUMN c TEXT", write: writes("t", "a", "b", "c") }],
  },
  {
    name: "ADD COLUMN with a default",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [{ sql: "ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT 'new'", write: writes("t", "b", "c") }],
  },
  {
    name: "two columns added, one after the other",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [
      { sql: "ALTER TABLE t ADD COLUMN c TEXT", write: writes("t", "a", "c") },
      { sql: "ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'd'", write: writes("t", "b", "d") },
    ],
  },
  {
    name: "RENAME COLUMN",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [{ sql: "ALTER TABLE t RENAME COLUMN a TO x", write: writes("t", "x", "b") }],
  },
  {
    name: "DROP COLUMN",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [{ sql: "ALTER TABLE t DROP COLUMN a", write: writes("t", "b") }],
  },
  {
    name: "RENAME COLUMN and ADD COLUMN in one transaction",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [{
      sql: "BEGIN; ALTER TABLE t RENAME COLUMN a TO x; ALTER TABLE t ADD COLUMN c TEXT; COMMIT",
      write: writes("t", "x", "b", "c"),
    }],
  },
  {
    name: "a column renamed, then dropped, then another of that name added",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [
      { sql: "ALTER TABLE t RENAME COLUMN a TO x", write: writes("t", "x", "b") },
      { sql: "ALTER TABLE t DROP COLUMN x", write: writes("t", "b") },
      { sql: "ALTER TABLE t ADD COLUMN x INTEGER", write: writes("t", "b") },
    ],
    isStepwise: true,
  },
  {
    name: "RENAME TO",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [{ sql: "ALTER TABLE t RENAME TO renamed", write: writes("renamed", "a", "b") }],
  },
  {
    name: "RENAME TO, and a column added",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [
      { sql: "ALTER TABLE t RENAME TO renamed", write: writes("renamed", "a", "b") },
      { sql: "ALTER TABLE renamed ADD COLUMN c TEXT", write: writes("renamed", "b", "c") },
    ],
  },
  {
    name: "RENAME TO, twice",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [
      { sql: "ALTER TABLE t RENAME TO second", write: writes("second", "a", "b") },
      { sql: "ALTER TABLE second RENAME TO third", write: writes("third", "a", "b") },
    ],
  },
  {
    name: "RENAME TO, then another table of the old name",
    schema: T,
    before: writes("t", "a", "b"),
    steps: [
      { sql: "ALTER TABLE t RENAME TO renamed", write: writes("renamed", "a", "b") },
      { sql: T, write: (n) => writes(n % 2 === 0 ? "renamed" : "t", "a", "b")(n) },
    ],
    isStepwise: true,
  },
  {
    name: "CREATE TABLE",
    schema: "CREATE TABLE other (id INTEGER PRIMARY KEY)",
    before: nothing,
    steps: [{ sql: T, write: writes("t", "a", "b") }],
  },
  {
    name: "DROP TABLE",
    schema: `${T}; CREATE TABLE other (id INTEGER PRIMARY KEY)`,
    before: writes("t", "a", "b"),
    steps: [{ sql: "DROP TABLE t", write: (n) => `INSERT OR REPLACE INTO other VALUES (${n})` }],
    lingerMs: 100_000,
  },
];

const ORDERS: Readonly<Record<number, readonly (readonly number[])[]>> = {
  2: [[1, 2], [2, 1]],
  3: [[1, 2, 3], [3, 1, 2]],
};

for (const { name, ...rollout } of CASES) {
  for (const nodes of rollout.lingerMs === undefined ? [2, 3] : [2]) {
    Deno.test(`${name}: ${nodes} nodes end equal, whichever is first`, async () => {
      for (const order of ORDERS[nodes] ?? []) {
        for (const pauseMs of [0, 400]) {
          for (const isByNode of rollout.isStepwise ? [false] : [false, true]) {
            await roll(rollout, { order, pauseMs, isByNode, seed: 1 + pauseMs });
          }
        }
      }
    });
  }
}

async function roll(
  { schema, before, steps, lingerMs = 0, isStepwise = false }: Omit<Case, "name">,
  { order, pauseMs, isByNode, seed }: {
    order: readonly number[];
    pauseMs: number;
    /** Whether a node makes all steps before the next node begins, or all nodes a step before the next step. */
    isByNode: boolean;
    seed: number;
  },
): Promise<void> {
  using world = new Rollout({ nodes: order.length, schema, seed });
  const { random } = world;
  await world.rest();
  const write = new Map(order.map((id) => [id, before]));
  let n = 0;
  const writeAll = async () => {
    for (let left = 3 * order.length; left > 0; left--) {
      const id = random.pick(order);
      world.sql(id, write.get(id)?.(1 + random.below(1000) + 1000 * n++) ?? "");
      await world.time.pass(random.pick([0, 0, 1, pauseMs]));
    }
  };
  await writeAll();
  const stages = isByNode
    ? order.flatMap((id) => steps.map((step) => ({ id, step })))
    : steps.flatMap((step) => order.map((id) => ({ id, step })));
  for (const [i, { id, step }] of stages.entries()) {
    world.sql(id, step.sql);
    write.set(id, step.write);
    await world.time.pass(pauseMs);
    if (isStepwise && (i + 1) % order.length === 0) await world.rest();
    // What comes last would hide what went wrong before.
    if (i < stages.length - 1 || seed % 2 === 0) await writeAll();
  }
  await world.time.pass(lingerMs);
  try {
    await world.converge();
  } catch (error) {
    const how = isByNode ? "node by node" : "step by step";
    throw new Error(`${how}, order ${order}, pause ${pauseMs} ms, seed ${seed}`, { cause: error });
  }
}

Deno.test("a change made while its table was parked goes out again with the columns that came meanwhile", async () => {
  using world = new Rollout({ nodes: 2, schema: `${T}; INSERT INTO t VALUES (1, 'a', 'b')` });
  await world.rest();
  const add = "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'default'";
  world.sql(1, `${add}; UPDATE t SET c = 'of 1'`);
  await world.rest();
  world.sql(2, "UPDATE t SET a = 'of 2'");
  await world.time.pass(1000);
  world.sql(2, add);
  await world.converge();
});

Deno.test("rows of a parked table that no application wrote wait until its events were applied, its changes do not", async () => {
  const u = "CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT)";
  using world = new Rollout({
    nodes: 2,
    schema: `${T}; INSERT INTO t VALUES (1, 'a', 'b'), (2, 'a2', 'b'); ${u}`,
    shards: 1,
  });
  await world.rest();
  world.sql(1, "ALTER TABLE t ADD COLUMN c TEXT; UPDATE t SET a = 'of 1', c = 'c' WHERE id = 1");
  await world.time.pass(1000);
  assert.deepEqual(world.rows(2, "SELECT count(*) FROM __marmot__parked"), [[1]]);
  const before = world.server.log(1).length;
  // The index makes backfill of all rows, the column of another table of none.
  world.sql(2, "CREATE UNIQUE INDEX t_a ON t (a); ALTER TABLE u ADD COLUMN w TEXT");
  world.sql(2, "INSERT INTO u (id) VALUES (5); UPDATE t SET b = 'of 2' WHERE id = 2");
  await world.time.pass(60_000);
  assert.equal(world.server.log(1).length - before, 2, "the two changes");
  assert.deepEqual(world.rows(1, "SELECT id, a, b, c FROM t"), [[1, "of 1", "b", "c"], [
    2,
    "a2",
    "of 2",
    null,
  ]]);
  world.sql(1, "ALTER TABLE u ADD COLUMN w TEXT");
  world.sql(2, "ALTER TABLE t ADD COLUMN c TEXT");
  await world.converge();
  assert.deepEqual(world.rows(2, "SELECT * FROM t"), [[1, "of 1", "b", "c"], [2, "a2", "of 2", null]]);
  assert.equal(world.server.log(1).length - before > 2, true, "and what waited");
});

Deno.test("what was held back of a parked table goes when the operator discards its events", async () => {
  using world = new Rollout({ nodes: 2, schema: `${T}; INSERT INTO t VALUES (1, 'a', 'b')`, shards: 1 });
  await world.rest();
  world.sql(1, "ALTER TABLE t ADD COLUMN c TEXT; UPDATE t SET a = 'of 1', c = 'c'");
  await world.time.pass(1000);
  world.sql(2, "CREATE UNIQUE INDEX t_a ON t (a)");
  await world.time.pass(60_000);
  assert.deepEqual(world.rows(1, "SELECT a FROM t"), [["of 1"]]);
  const connection = new Connection(world.node(2).path);
  assert.equal(discardWaiting(connection, "t", { isAll: true, nowMs: 0 }), 1);
  connection.close();
  await world.time.pass(1000);
  assert.deepEqual(world.rows(1, "SELECT a, c FROM t"), [["a", "c"]]);
  assert.deepEqual(world.rows(2, "SELECT a FROM t"), [["a"]]);
  await world.rest();
});

Deno.test("a stream that a newer Marmot writes to is stopped, and the node goes on with the others", async () => {
  using world = new Rollout({ nodes: 2, schema: `${T}; CREATE TABLE u (id INTEGER PRIMARY KEY)`, shards: 2 });
  const shards = new Map([["t", shardOfTable("t", 2)], ["u", shardOfTable("u", 2)]]);
  assert.notEqual(shards.get("t"), shards.get("u"));
  await world.rest();
  const payload = new Uint8Array([1]);
  world.server.store({ shard: shards.get("t") ?? 0, table: "t", format: "batch/2", payload });
  world.sql(1, "INSERT INTO t (id) VALUES (1); INSERT INTO u VALUES (1)");
  await world.time.pass(3000);
  assert.deepEqual(world.rows(2, "SELECT * FROM u"), [[1]]);
  assert.deepEqual(world.rows(2, "SELECT id FROM t"), [], "nothing behind it is applied");
  assert.deepEqual(world.rows(2, "SELECT count(*) FROM __marmot__quarantine"), [[0]]);
  for (const node of world.nodes) assert.equal(node.failure, undefined);
});

Deno.test("messages of a table go to the subject of its first name, from nodes that have renamed it and others", async () => {
  using world = new Rollout({ nodes: 2, schema: T, shards: 1 });
  await world.rest();
  world.sql(1, "ALTER TABLE t RENAME TO renamed; INSERT INTO renamed (id) VALUES (1)");
  world.sql(2, "INSERT INTO t (id) VALUES (2)");
  await world.rest();
  // An image, which goes on a condition: its subject is that of the changes.
  world.sql(1, "DROP TABLE renamed; CREATE TABLE renamed (id INTEGER PRIMARY KEY, a TEXT, b TEXT)");
  await world.rest();
  world.sql(2, "ALTER TABLE t RENAME TO renamed");
  await world.converge();
  const subjects = world.server.log(1).map((message) => message.subject);
  assert.ok(subjects.length >= 3);
  assert.deepEqual([...new Set(subjects)], [subjectOf(1, "t")]);
  assert.deepEqual(world.rows(2, "SELECT id FROM renamed"), []);
});
