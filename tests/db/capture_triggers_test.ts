import assert from "node:assert/strict";
import { indexOverAutomaticKey, tableIdOfTrigger } from "../../src/db/capture/capture_triggers.ts";
import { entryKinds } from "../../src/db/state/state_tables.ts";
import { TestReplica } from "./test_replica.ts";

const CHANGE = BigInt(entryKinds.change);
const VICTIM = BigInt(entryKinds.victim);

/** The entries that statements of the application leave: kind and key. */
function captured(schema: string, before: string, statements: string): unknown[][] {
  using world = new TestReplica(`${schema}; ${before}`);
  world.arm();
  world.application.exec(statements);
  return world.entries().map((entry) => entry.slice(1));
}

const PLAIN = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)";

Deno.test("INSERT, UPDATE and DELETE log the key of each row", () => {
  const statements =
    "INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET v = 'c' WHERE id = 2; DELETE FROM t";
  assert.deepEqual(captured(PLAIN, "", statements).map((entry) => entry[1]), [1n, 2n, 2n, 1n, 2n]);
});

Deno.test("an UPDATE of the key logs both keys, and one that leaves it as it is logs one", () => {
  const keys = (entries: unknown[][]) => entries.map((entry) => entry[1]).sort();
  assert.deepEqual(keys(captured(PLAIN, "INSERT INTO t VALUES (1, '')", "UPDATE t SET id = 5")), [1n, 5n]);
  assert.deepEqual(keys(captured(PLAIN, "INSERT INTO t VALUES (1, '')", "UPDATE t SET id = 1")), [1n]);
});

Deno.test("what was rolled back is not logged", () => {
  assert.deepEqual(captured(PLAIN, "", "BEGIN; INSERT INTO t VALUES (1, 'a'); ROLLBACK"), []);
});

Deno.test("the key's own collation decides whether a key has moved", () => {
  const finer = "CREATE TABLE t (k TEXT COLLATE NOCASE, PRIMARY KEY (k COLLATE BINARY))";
  assert.equal(captured(finer, "INSERT INTO t VALUES ('a')", "UPDATE t SET k = 'A'").length, 2);
  const coarser = "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY)";
  assert.equal(captured(coarser, "INSERT INTO t VALUES ('a')", "UPDATE t SET k = 'A'").length, 1);
});

const victims = (entries: unknown[][]) =>
  entries.filter((entry) => entry[0] === VICTIM).map((entry) => entry[1]).sort();

Deno.test("rows that REPLACE removes by a UNIQUE index are logged as victims", () => {
  const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE, v TEXT);" +
    "CREATE UNIQUE INDEX i ON t (lower(v)) WHERE v <> 'free'";
  const rows = "INSERT INTO t VALUES (1, 'a', 'p'), (2, 'b', 'q'), (3, 'c', 'free'), (4, 'd', 'free')";
  assert.deepEqual(victims(captured(schema, rows, "REPLACE INTO t VALUES (9, 'A', 'Q')")), [1n, 2n]);
  assert.deepEqual(victims(captured(schema, rows, "REPLACE INTO t VALUES (9, 'x', 'free')")), []);
  assert.deepEqual(victims(captured(schema, rows, "UPDATE OR REPLACE t SET u = 'B' WHERE id = 1")), [2n]);
  assert.deepEqual(victims(captured(schema, rows, "UPDATE t SET u = 'A' WHERE id = 1")), []);
});

Deno.test("a row that REPLACE removes by a rowid that is not the key is a victim", () => {
  const schema = "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)";
  const rows = "INSERT INTO t (rowid, k) VALUES (1, 'a'), (2, 'b')";
  assert.deepEqual(victims(captured(schema, rows, "REPLACE INTO t (rowid, k) VALUES (2, 'c')")), ["b"]);
  assert.deepEqual(victims(captured(schema, rows, "UPDATE OR REPLACE t SET rowid = 2 WHERE k = 'a'")), ["b"]);
  assert.deepEqual(
    victims(captured(schema, rows, "INSERT INTO t (k) VALUES ('c'); UPDATE t SET v = 'x'")),
    [],
  );
});

Deno.test("the triggers do not stand in the way of dropping a column that no index needs", () => {
  const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT UNIQUE);" +
    "CREATE UNIQUE INDEX i ON t (lower(b)) WHERE c IS NOT NULL";
  const entries = captured(schema, "", "ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (1, 'b', 'c')");
  assert.deepEqual(entries, [[CHANGE, 1n]]);
});

Deno.test("an application with trusted_schema off can write", () => {
  const statements =
    "PRAGMA trusted_schema = OFF; INSERT INTO t VALUES (1, 'a'); REPLACE INTO t VALUES (2, 'A')";
  const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT); CREATE UNIQUE INDEX i ON t (lower(u))";
  assert.deepEqual(captured(schema, "", statements), [[CHANGE, 1n], [VICTIM, 1n], [CHANGE, 2n]]);
});

Deno.test("only names of capture triggers lead to a table id", () => {
  for (
    const suffix of ["insert", "update", "key", "delete", "before_insert", "before_update", "rowid_insert"]
  ) {
    assert.equal(tableIdOfTrigger(`__marmot__12_${suffix}`), 12);
  }
  for (const name of ["__marmot__t_change_log_on_insert", "__marmot__1_other", "x__marmot__1_insert", ""]) {
    assert.equal(tableIdOfTrigger(name), undefined);
  }
});

Deno.test("a UNIQUE index that computes with an automatic key is named: its victims are not always seen", () => {
  const cases: [schema: string, index: string | undefined][] = [
    ["CREATE TABLE t (id INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t (u, ID % 10)", "i"],
    ["CREATE TABLE t (id INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t (u) WHERE id > 5", "i"],
    ["CREATE TABLE t (id INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t (id, u)", undefined],
    ["CREATE TABLE t (id INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t (lower(u))", undefined],
    ["CREATE TABLE t (id TEXT PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t (u || id)", undefined],
    [
      "CREATE TABLE t (id INTEGER PRIMARY KEY, rowid TEXT); CREATE UNIQUE INDEX i ON t (lower(rowid))",
      undefined,
    ],
  ];
  for (const [schema, index] of cases) {
    using world = new TestReplica(schema);
    world.arm();
    assert.equal(indexOverAutomaticKey(world.table("t").schema), index, schema);
  }
});
