/** A database that may not grow, by way of SQLite's max_page_count. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection } from "../../src/db/connection.ts";

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
