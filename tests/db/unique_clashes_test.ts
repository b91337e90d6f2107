import assert from "node:assert/strict";
import type { Value } from "../../src/wire/value.ts";
import { RawText } from "../../src/wire/value.ts";
import { TestReplica } from "./test_replica.ts";

/** Keys of the rows that a new row (all columns but generated ones) clashes with in table t. */
function clashes(schema: string, rows: string, row: readonly Value[]): Value[][] {
  using world = new TestReplica(`${schema}; ${rows}`);
  world.arm();
  const { rows: access, clashes: found } = world.table("t");
  return world.replica.connection.read(() => found.find(access.allColumns, row));
}

Deno.test("a plain UNIQUE index: equal values clash, NULL never does", () => {
  const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, UNIQUE (a, b))";
  const rows =
    "INSERT INTO t VALUES (1, 1, 'x'), (2, 1.5, 'x'), (3, NULL, 'x'), (4, CAST(x'ff' AS TEXT), char(0))";
  assert.deepEqual(clashes(schema, rows, [9n, 1n, "x"]), [[1n]]);
  assert.deepEqual(clashes(schema, rows, [9n, 1, "x"]), [[1n]]);
  assert.deepEqual(clashes(schema, rows, [9n, 1n, "X"]), []);
  assert.deepEqual(clashes(schema, rows, [9n, null, "x"]), []);
  assert.deepEqual(clashes(schema, rows, [9n, new RawText(Uint8Array.of(0xff)), "\0"]), [[4n]]);
});

Deno.test("a row finds itself where it holds the value", () => {
  const schema = "CREATE TABLE t (k TEXT PRIMARY KEY, u UNIQUE)";
  assert.deepEqual(clashes(schema, "INSERT INTO t VALUES ('a', 1)", ["a", 1n]), [["a"]]);
});

Deno.test("an index uses its own collation, not its column's", () => {
  const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT COLLATE NOCASE, b TEXT);" +
    "CREATE UNIQUE INDEX i ON t (n COLLATE BINARY); CREATE UNIQUE INDEX j ON t (b COLLATE NOCASE)";
  const rows = "INSERT INTO t VALUES (1, 'a', 'b')";
  assert.deepEqual(clashes(schema, rows, [9n, "A", "x"]), []);
  assert.deepEqual(clashes(schema, rows, [9n, "a", "x"]), [[1n]]);
  assert.deepEqual(clashes(schema, rows, [9n, "x", "B"]), [[1n]]);
});

Deno.test("a partial index looks at rows inside it alone", () => {
  const schema =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT, is_live INT); CREATE UNIQUE INDEX i ON t (u) WHERE is_live";
  const rows = "INSERT INTO t VALUES (1, 'a', 0), (2, 'a', 1)";
  assert.deepEqual(clashes(schema, rows, [9n, "a", 1n]), [[2n]]);
  assert.deepEqual(clashes(schema, rows, [9n, "a", 0n]), []);
});

Deno.test("an index on expressions, also where the table's name is in quotes", () => {
  for (const name of ["t", '"t"', "[t]", "`t`", "'t'", 'main."t"']) {
    const schema =
      `CREATE TABLE ${name} (id INTEGER PRIMARY KEY AUTOINCREMENT, u TEXT CHECK (u <> '('), n INT);` +
      "CREATE UNIQUE INDEX i ON t (lower(trim(u)) DESC, n % 10)";
    const rows = "INSERT INTO t VALUES (1, ' Abc', 7), (2, NULL, 7)";
    assert.deepEqual(clashes(schema, rows, [9n, "ABC ", 17n]), [[1n]]);
    assert.deepEqual(clashes(schema, rows, [9n, "ABC", 8n]), []);
    assert.deepEqual(clashes(schema, rows, [9n, null, 7n]), []);
  }
});

Deno.test("an index on a generated column", () => {
  const schema =
    "CREATE TABLE t (g TEXT AS (lower(u)) STORED UNIQUE, id INTEGER PRIMARY KEY, u TEXT, v AS (u || id) UNIQUE)";
  const rows = "INSERT INTO t (id, u) VALUES (1, 'Abc')";
  assert.deepEqual(clashes(schema, rows, [9n, "aBC"]), [[1n]]);
  assert.deepEqual(clashes(schema, rows, [9n, "x"]), []);
});

Deno.test("several indexes may each name another row", () => {
  const schema =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b UNIQUE); CREATE UNIQUE INDEX i ON t (abs(a))";
  const rows = "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, -3, 3)";
  const found = clashes(schema, rows, [9n, 3n, 1n]).map(([key]) => key);
  assert.deepEqual(found.sort(), [1n, 3n]);
});

Deno.test("what a row holds in each index is compared as the index does", () => {
  using world = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE UNIQUE, b TEXT);" +
      "CREATE UNIQUE INDEX i ON t (lower(b)) WHERE a IS NOT NULL",
  );
  world.arm();
  const { rows, clashes: found } = world.table("t");
  const identities = (...row: Value[]) =>
    world.replica.connection.read(() => found.identities(rows.allColumns, row));
  assert.deepEqual(identities(1n, "A", "B"), identities(2n, "a", "b"));
  assert.deepEqual(identities(1n, null, "B"), [null, null]);
  const [held, ...others] = identities(1n, "a", null).filter((identity) => identity !== null);
  assert.deepEqual([held, others], ["ta", []]);
});
