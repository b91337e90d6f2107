import assert from "node:assert/strict";
import { bodyOfRowEvent, mapColumns } from "../../src/db/rows/column_mapping.ts";
import { MalformedMessageError, SchemaMismatchError } from "../../src/errors.ts";
import type { BatchBody } from "../../src/wire/batch_codec.ts";
import type { Value } from "../../src/wire/value.ts";
import { deletion, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA =
  'CREATE TABLE t (a TEXT, "B" INTEGER, c TEXT, g AS (a || c), PRIMARY KEY (c, a)); CREATE TABLE r (v TEXT)';

function bodyOf(columns: (string | null)[], key: number[]): BatchBody {
  return { table: "t", columns, key, uniqueSignature: "", events: [] };
}

Deno.test("columns are found by name, whatever their order and the case of their letters", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const mapping = mapColumns(world.table("t"), bodyOf(["c", "b", "A"], [2, 0]));
  assert.deepEqual(mapping, {
    columns: { targets: [2, 1, 0], sources: [0, 1, 2] },
    keyInRow: [0, 2],
    keyInKey: [1, 0],
  });
});

Deno.test("a message that lacks a column sets the others alone", () => {
  using world = new TestReplica(SCHEMA);
  world.application.exec("INSERT INTO t VALUES ('a', 7, 'c')");
  world.arm();
  world.apply("t", [upsert("c", "a")], { columns: ["c", "a"], key: [0, 1] });
  world.apply("t", [upsert("new", "a")], { columns: ["c", "a"], key: [0, 1] });
  assert.deepEqual(world.rows('SELECT a, "B", c FROM t ORDER BY c'), [["a", 7, "c"], ["a", null, "new"]]);
});

Deno.test("a column that the table never had does not fit, one that it lost is left out, one renamed goes under its new name", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const map = (...columns: string[]) =>
    mapColumns(world.table("t"), bodyOf(columns, [columns.indexOf("c"), columns.indexOf("a")]));
  assert.throws(
    () => map("a", "b", "c", "never"),
    new SchemaMismatchError('Cannot apply a change to table "t": column "never" is missing'),
  );
  assert.throws(() => map("a", "c", "g"), SchemaMismatchError);
  world.application.exec('ALTER TABLE t RENAME COLUMN "B" TO d');
  world.arm();
  assert.deepEqual(map("a", "B", "c").columns, { targets: [0, 1, 2], sources: [0, 1, 2] });
  assert.throws(() => map("a", "B", "d", "c"), SchemaMismatchError);
  world.application.exec("ALTER TABLE t DROP COLUMN d");
  world.arm();
  assert.deepEqual(map("a", "d", "c").columns, { targets: [0, 1], sources: [0, 2] });
});

Deno.test("another primary key, or a rowid where there is a key, does not fit", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  assert.throws(() => mapColumns(world.table("t"), bodyOf(["a", "c"], [0])), /another primary key/);
  assert.throws(() => mapColumns(world.table("t"), bodyOf(["a", "b"], [0, 1])), /another primary key/);
  assert.throws(() => mapColumns(world.table("t"), bodyOf([null, "a"], [0])), /keyed by its rowid there/);
  assert.throws(() => mapColumns(world.table("r"), bodyOf(["v"], [0])), /another primary key/);
  assert.deepEqual(mapColumns(world.table("r"), bodyOf(["v", null], [1])).columns, {
    targets: [1, 0],
    sources: [0, 1],
  });
});

Deno.test("names in a message never become SQL", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const hostile = 'a") VALUES (1); DROP TABLE t; --';
  const outcome = world.apply("t", [upsert("x", "y")], { columns: [hostile, "c"], key: [0, 1] });
  assert.deepEqual([outcome.parked, outcome.written], [1, 0]);
  assert.equal(world.apply('t"; DROP TABLE t; --', [deletion(1n)], { columns: ["a"], key: [0] }).parked, 1);
  assert.deepEqual(world.rows("SELECT count(*) FROM t"), [[0]]);
});

Deno.test("the original's rows are laid out by name; one without its key can never be applied", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const event = (type: "update" | "delete", row: [string, Value][]) => ({
    origin: 5n,
    type,
    table: "t",
    row: new Map(row),
  });
  const body = bodyOfRowEvent(world.table("t"), event("update", [["A", "x"], ["c", "y"], ["B", 1n]]));
  assert.deepEqual([body.columns, body.key, body.events], [["A", "B", "c"], [2, 0], [upsert("x", 1n, "y")]]);
  assert.deepEqual(bodyOfRowEvent(world.table("t"), event("delete", [["a", "x"], ["c", "y"]])).events, [
    deletion("y", "x"),
  ]);
  assert.deepEqual(bodyOfRowEvent(world.table("r"), event("delete", [["rowid", 3n], ["v", ""]])).events, [
    deletion(3n),
  ]);
  assert.throws(() => bodyOfRowEvent(world.table("t"), event("update", [["a", "x"]])), MalformedMessageError);
});
