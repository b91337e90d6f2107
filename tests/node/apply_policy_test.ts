/** What is done with a message whose application failed: a row of the table per kind of error, SQLite's own included. */
import assert from "node:assert/strict";
import { type ApplyDecision, decideOnApplyError } from "../../src/db/apply/apply_policy.ts";
import { Connection, SqliteError } from "../../src/db/connection.ts";
import {
  DatabaseBusyError,
  MalformedMessageError,
  MarmotError,
  SchemaMismatchError,
} from "../../src/errors.ts";

const CASES: readonly [name: string, error: unknown, expected: ApplyDecision][] = [
  ["the database is locked", new DatabaseBusyError(undefined), "retry"],
  ["the message is malformed", new MalformedMessageError("x"), "quarantine"],
  ["the message does not fit the schema", new SchemaMismatchError("x"), "park"],
  ["another process uses the node id", new MarmotError("identity", "x"), "stop"],
  ["a defect that was found", new MarmotError("internal", "x"), "stop"],
  ["a defect that was not", new TypeError("x"), "stop"],
  ["nothing that is an error", "x", "stop"],
  ["SQLITE_NOMEM", new SqliteError("x", 7, undefined), "stop"],
  ["SQLITE_READONLY", new SqliteError("x", 8, undefined), "stop"],
  ["SQLITE_IOERR_WRITE", new SqliteError("x", 10 | (3 << 8), undefined), "stop"],
  ["SQLITE_CORRUPT", new SqliteError("x", 11, undefined), "stop"],
  ["SQLITE_FULL", new SqliteError("x", 13, undefined), "stop"],
  ["SQLITE_NOTADB", new SqliteError("x", 26, undefined), "stop"],
  ["SQLITE_TOOBIG", new SqliteError("x", 18, undefined), "park"],
  ["SQLITE_AUTH", new SqliteError("x", 23, undefined), "park"],
];

for (const [name, error, expected] of CASES) {
  Deno.test(`apply policy: ${name}: ${expected}`, () => assert.equal(decideOnApplyError(error), expected));
}

const SCHEMA = `
  CREATE TABLE t (id INTEGER PRIMARY KEY, filled NOT NULL DEFAULT 0, positive CHECK (positive > 0), once UNIQUE);
  INSERT INTO t VALUES (1, 1, 1, 'taken');
  CREATE TABLE exact (id INTEGER PRIMARY KEY, n INTEGER) STRICT;
  CREATE TABLE guarded (id INTEGER PRIMARY KEY);
  CREATE TRIGGER guard BEFORE INSERT ON guarded BEGIN SELECT RAISE(ABORT, 'no'); END`;

const STATEMENTS: Readonly<Record<string, string>> = {
  "NOT NULL": "INSERT INTO t (id, filled) VALUES (2, NULL)",
  "CHECK": "INSERT INTO t (id, positive) VALUES (2, -1)",
  "UNIQUE": "INSERT INTO t (id, once) VALUES (2, 'taken')",
  "the primary key": "INSERT INTO t (id) VALUES (1)",
  "RAISE": "INSERT INTO guarded VALUES (1)",
  "a STRICT table": "INSERT INTO exact VALUES (1, 'many')",
  "the type of a rowid": "INSERT INTO t (id) VALUES ('one')",
  "a statement that does not compile": "INSERT INTO t (id, nope) VALUES (2, 1)",
};

for (const [name, sql] of Object.entries(STATEMENTS)) {
  Deno.test(`apply policy: SQLite refuses by ${name}: park`, () => {
    const connection = new Connection(":memory:");
    try {
      connection.exec(SCHEMA);
      assert.equal(decideOnApplyError(errorOf(() => connection.exec(sql))), "park");
    } finally {
      connection.close();
    }
  });
}

function errorOf(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return assert.fail("it went well");
}
