/** Reading many rows with one statement gives what reading each by itself gives. */
import assert from "node:assert/strict";
import { readEvent } from "../../src/db/capture/change_event.ts";
import type { ScanRequest } from "../../src/db/capture/change_scan.ts";
import { Statement } from "../../src/db/connection.ts";
import { TestReplica } from "./test_replica.ts";

const WHOLE: ScanRequest = {
  after: new Map([[1, 0]]),
  upTo: Infinity,
  shardOf: () => 1,
  shardsOf: () => [1],
  maxEntries: 10_000,
  maxBytes: 1e9,
};
const ROWS = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)";

const TABLES: readonly { name: string; schema: string; changes: string }[] = [
  {
    name: "an integer key, some rows gone, some written twice",
    schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
    changes: `${ROWS} INSERT INTO t SELECT i, i * 1.5 FROM n; DELETE FROM t WHERE id % 7 = 0; ` +
      "UPDATE t SET v = 'new' WHERE id % 5 = 0",
  },
  {
    name: "columns called as those of the change log are",
    schema: "CREATE TABLE t (k0 TEXT, id INT, table_id, kind, rowid, k1, PRIMARY KEY (id, k0)) WITHOUT ROWID",
    changes:
      `${ROWS} INSERT INTO t SELECT 'k' || (i % 10), i, i, i, i, i FROM n; DELETE FROM t WHERE id % 3 = 0`,
  },
  {
    name: "a key whose collation is not its column's",
    schema: "CREATE TABLE t (k TEXT COLLATE NOCASE, v, PRIMARY KEY (k COLLATE BINARY))",
    changes: `${ROWS} INSERT INTO t SELECT char(65 + i % 26 + 32 * (i % 2)) || i, i FROM n; ` +
      "UPDATE t SET k = lower(k), v = -v WHERE v % 4 = 0",
  },
  {
    name: "an untyped key of every storage class",
    schema: "CREATE TABLE t (k PRIMARY KEY, v)",
    changes:
      `${ROWS} INSERT INTO t SELECT CASE i % 6 WHEN 0 THEN i WHEN 1 THEN i + 0.5 WHEN 2 THEN 'k' || i ` +
      "WHEN 3 THEN CAST('b' || i AS BLOB) WHEN 4 THEN 'n' || char(0) || i ELSE CAST(x'ff' || i AS TEXT) END, i FROM n; " +
      "INSERT INTO t VALUES (NULL, 1), (NULL, 2), (9007199254740993, 3), (0.0, 4)",
  },
  {
    name: "texts that need a second look",
    schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
    changes:
      `${ROWS} INSERT INTO t SELECT i, CASE i % 9 WHEN 0 THEN CAST(x'61ff' AS TEXT) WHEN 1 THEN 'a' || char(0) ` +
      "WHEN 2 THEN char(0xFFFD) ELSE 'plain' END FROM n",
  },
  {
    name: "no key of its own",
    schema: "CREATE TABLE t (a, b)",
    changes: `${ROWS} INSERT INTO t SELECT i, i % 2 FROM n; DELETE FROM t WHERE a % 11 = 0`,
  },
  {
    name: "more columns than one SELECT takes",
    schema: `CREATE TABLE t (id INTEGER PRIMARY KEY, ${columns(900).join(", ")})`,
    changes: `${ROWS} INSERT INTO t (id, c0, c450, c899) SELECT i, i, 'middle ' || i, -i FROM n`,
  },
  {
    name: "rows of two tables in turns",
    schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE u (id INTEGER PRIMARY KEY, v); " +
      "CREATE TRIGGER both AFTER INSERT ON t BEGIN INSERT INTO u VALUES (NEW.id, -NEW.v); END",
    changes: `${ROWS} INSERT INTO t SELECT i, i FROM n; DELETE FROM u WHERE id % 2 = 0`,
  },
];

function columns(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `c${i}`);
}

for (const { name, schema, changes } of TABLES) {
  Deno.test(`a scan gives each row as it is by itself: ${name}`, () => {
    using test = new TestReplica(schema);
    test.arm();
    test.application.exec(changes);
    const { replica } = test;
    const result = replica.scan(WHOLE);
    assert.ok(result?.isAtEnd);
    for (const { table, events } of result.sets) {
      assert.ok(events.length >= 300);
      replica.connection.read(() => {
        for (const event of events) {
          const key = event.kind === "upsert" ? table.rows.keyOf(event.row) : event.key;
          assert.deepEqual(event, readEvent(table, key));
        }
      });
    }
    const rows = result.sets.flatMap(({ events }) =>
      events.flatMap((event) =>
        event.kind === "upsert" ? [event.row] : event.kind === "list" ? event.rows : []
      )
    );
    const tables = result.sets.map(({ table }) => `(SELECT count(*) FROM ${table.schema.name})`);
    assert.equal(rows.length, test.rows(`SELECT ${tables.join(" + ")}`)[0]?.[0]);
  });
}

Deno.test("a scan of large rows reads about as much as it gives", () => {
  using test = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)");
  test.arm();
  test.application.exec(`${ROWS} INSERT INTO t SELECT i, zeroblob(200000) FROM n`);
  using read = countLargeRows();
  const result = test.replica.scan({ ...WHOLE, maxBytes: 1_000_000 });
  assert.equal(result?.sets[0]?.events.length, 5);
  assert.ok(read.rows <= 7, `${read.rows} rows were read`);
});

/** Counts the rows of large values that statements give. */
function countLargeRows(): Disposable & { rows: number } {
  const { all } = Statement.prototype;
  const counted = {
    rows: 0,
    [Symbol.dispose]: () => {
      Statement.prototype.all = all;
    },
  };
  Statement.prototype.all = function (parameters) {
    const rows = all.call(this, parameters);
    for (const row of rows) {
      if (row.some((value) => value instanceof Uint8Array && value.length > 1000)) counted.rows++;
    }
    return rows;
  };
  return counted;
}
