/** A database that may not grow, by way of SQLite's max_page_count. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection, DiskFullError } from "../../src/db/connection.ts";
import { TestReplica, upsert } from "./test_replica.ts";

Deno.test("a full disk is said in a sentence with what to do, and the transaction leaves nothing behind", () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-full-"));
  const connection = new Connection(join(folder, "full.db"));
  try {
    connection.exec("CREATE TABLE t (v)");
    const pages = connection.integer("PRAGMA page_count");
    connection.statement(`PRAGMA max_page_count = ${pages + 2}`).get();
    const fill = () =>
      connection.write(() => connection.exec("INSERT INTO t VALUES (1), (zeroblob(100000))"));
    assert.throws(fill, {
      name: "DiskFullError",
      code: "database",
      message: "Cannot write to the database: its disk is full",
      hint: "Make room and start Marmot again: no change is lost.",
    });
    assert.equal(connection.isInTransaction, false);
    assert.equal(connection.integer("SELECT count(*) FROM t"), 0);
    connection.statement("PRAGMA max_page_count = 1000000").get();
    fill();
    assert.equal(connection.integer("SELECT count(*) FROM t"), 2);
  } finally {
    connection.close();
    rmSync(folder, { recursive: true });
  }
});

Deno.test("a message that finds no room is applied when there is some, and what was pending is pending still", () => {
  using test = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  test.arm();
  test.application.exec("INSERT INTO t VALUES (1, 'mine')");
  const { connection, positions } = test.replica;
  const bounds = { rows: 1000, milliseconds: 1000 };
  const message = test.message("t", [upsert(1n, "theirs"), upsert(2n, "x".repeat(100_000))]);
  const limit = (pages: number) => connection.statement(`PRAGMA max_page_count = ${pages}`).get();
  limit(connection.integer("PRAGMA page_count") + 2);
  assert.throws(() => test.replica.apply([message], bounds), DiskFullError);
  assert.deepEqual(test.rows("SELECT id, v FROM t"), [[1, "mine"]]);
  assert.equal(positions.get("s").cursor, 0);
  limit(1_000_000);
  assert.equal(test.replica.apply([message], bounds)?.overwritten, 1, "the row with a pending change stays");
  assert.deepEqual(test.rows("SELECT id, length(v) FROM t"), [[1, 4], [2, 100_000]]);
});
