/** UNIQUE clashes: a later event displaces, a pending row hides. Rules: docs/design.md, "UNIQUE tables". */
import assert from "node:assert/strict";
import { deletion, OWN_ID, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA =
  "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE); INSERT INTO t VALUES (1, 'x'), (2, 'y')";

function armedWorld(): TestReplica {
  const world = new TestReplica(SCHEMA);
  world.arm();
  return world;
}

const rowsOf = (world: TestReplica) => world.rows("SELECT id, u FROM t ORDER BY id");
const conflictsOf = (world: TestReplica) => world.rows("SELECT kind FROM __marmot__conflict").flat();

Deno.test("a swap in one batch displaces nobody", () => {
  using world = armedWorld();
  const outcome = world.apply("t", [upsert(1n, "y"), upsert(2n, "x")]);
  assert.equal(outcome.displaced, 0);
  assert.deepEqual(rowsOf(world), [[1, "y"], [2, "x"]]);
  assert.deepEqual(conflictsOf(world), []);
});

Deno.test("a later event displaces the row that holds its value, and that is on record", () => {
  using world = armedWorld();
  assert.equal(world.apply("t", [upsert(3n, "x")]).displaced, 1);
  assert.deepEqual(rowsOf(world), [[2, "y"], [3, "x"]]);
  assert.deepEqual(conflictsOf(world), ["displaced"]);
});

Deno.test("a remote row that clashes with a pending row is hidden, and comes out when the clash is gone", () => {
  using world = armedWorld();
  world.application.exec("INSERT INTO t VALUES (3, 'z')");
  const { run } = world.replica;
  assert.equal(world.apply("t", [upsert(4n, "z")]).hidden, 1);
  assert.deepEqual(rowsOf(world), [[1, "x"], [2, "y"], [3, "z"]]);
  world.application.exec("DELETE FROM t WHERE id = 3");
  world.apply("t", [deletion(3n)], { origin: OWN_ID, run, top: 2 });
  assert.deepEqual(rowsOf(world), [[1, "x"], [2, "y"], [4, "z"]]);
  assert.deepEqual(world.rows("SELECT count(*) FROM __marmot__hidden"), [[0]]);
});

Deno.test("the echo of the pending row drops what it hid: it stands later in the stream", () => {
  using world = armedWorld();
  world.application.exec("INSERT INTO t VALUES (3, 'z')");
  const { run } = world.replica;
  world.apply("t", [upsert(4n, "z")]);
  world.apply("t", [upsert(3n, "z")], { origin: OWN_ID, run, top: 1 });
  assert.deepEqual(rowsOf(world), [[1, "x"], [2, "y"], [3, "z"]]);
  assert.deepEqual(conflictsOf(world), ["hidden-dropped"]);
});

Deno.test("a later event of a hidden row's key takes its place", () => {
  using world = armedWorld();
  world.application.exec("INSERT INTO t VALUES (3, 'z')");
  world.apply("t", [upsert(4n, "z")]);
  world.apply("t", [upsert(4n, "free")]);
  assert.deepEqual(rowsOf(world), [[1, "x"], [2, "y"], [3, "z"], [4, "free"]]);
  assert.deepEqual(world.rows("SELECT count(*) FROM __marmot__hidden"), [[0]]);
});

Deno.test("a remote event on a pending row is not written, but displaces the rows it clashes with", () => {
  using world = armedWorld();
  world.application.exec("UPDATE t SET u = 'mine' WHERE id = 1");
  const outcome = world.apply("t", [upsert(1n, "y")]);
  assert.deepEqual([outcome.overwritten, outcome.displaced], [1, 1]);
  assert.deepEqual(rowsOf(world), [[1, "mine"]]);
});

Deno.test("a row that REPLACE removed is published as gone, one that OR IGNORE kept is not", () => {
  using world = armedWorld();
  const scan = (after: number) =>
    world.replica.scan({
      after: new Map([[1, after]]),
      upTo: Infinity,
      shardOf: () => 1,
      shardsOf: () => [1],
      maxEntries: 100,
      maxBytes: 1e6,
    });
  world.application.exec("INSERT OR IGNORE INTO t VALUES (3, 'x')");
  const ignored = scan(0);
  assert.deepEqual([ignored?.sets, ignored?.hasFalseVictims], [[], true]);
  world.application.exec("INSERT OR REPLACE INTO t VALUES (3, 'x')");
  const events = scan(ignored?.to ?? 0)?.sets[0]?.events;
  assert.deepEqual(events, [deletion(1n), upsert(3n, "x")]);
});

Deno.test("a hidden row comes out when the index that hid it is dropped", () => {
  using world = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX t_u ON t (u)",
  );
  world.arm();
  world.application.exec("INSERT INTO t VALUES (1, 'x')");
  assert.equal(world.apply("t", [upsert(2n, "x")]).hidden, 1);
  world.application.exec("DROP INDEX t_u");
  world.arm();
  world.replica.retryParked({ rows: 10, milliseconds: 1000 });
  assert.deepEqual(rowsOf(world), [[1, "x"], [2, "x"]]);
});
