import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { dumpSchema, dumpTables } from "../../scripts/table_dump.ts";
import { assertSound, copyDatabase } from "../../src/db/snapshot/copy_database.ts";
import { lookAtDatabase, placeDatabase } from "../../src/db/snapshot/place_database.ts";
import { stripCopy } from "../../src/db/snapshot/strip_copy.ts";
import { openDatabase } from "../../src/db/open_database.ts";
import { TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = `
  CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v);
  CREATE TABLE pairs (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
  CREATE INDEX by_v ON t (v);
  CREATE VIEW seen AS SELECT * FROM t;
  CREATE TABLE audit (n);
  CREATE TRIGGER note AFTER INSERT ON t BEGIN INSERT INTO pairs VALUES (NEW.id, NEW.u); END;
  CREATE VIRTUAL TABLE words USING fts5(body);
  INSERT INTO t VALUES (1, 'a', x'00ff'), (2, 'b', 1.0);
  INSERT INTO words VALUES ('some words');`;
const KEYED_BY_ROWID =
  "CREATE TABLE log (line); INSERT INTO log (rowid, line) VALUES (5, 'five'), (9, 'nine')";

for (
  const [kind, schema] of [["VACUUM INTO", SCHEMA.replace("CREATE TABLE audit (n);", "")], [
    "the backup API",
    SCHEMA + KEYED_BY_ROWID,
  ]] as const
) {
  Deno.test(`a copy by ${kind} holds the rows and what tells where they stand in the streams, no more`, async () => {
    using world = new TestReplica(schema);
    world.arm();
    world.apply("t", [upsert(3n, "c", null)]);
    world.application.exec("INSERT INTO t VALUES (4, 'd', 'pending')");
    const rows = world.dump();
    const path = `${world.path}.copy`;
    const facts = await copyDatabase(world.path, path);
    assert.equal(facts.nodeId, "1");
    assert.deepEqual(facts.positions, world.replica.positions.all());
    assert.equal(facts.logTop, world.replica.log.highestId());
    // The application's row, and the one that its trigger wrote.
    assert.equal(facts.pending, 2);
    using copy = new DatabaseSync(path);
    assert.deepEqual(dumpTables(copy, [...rows.keys()]), rows);
    const names = copy.prepare("SELECT name FROM sqlite_schema WHERE name LIKE '\\_\\_marmot%' ESCAPE '\\'")
      .all();
    assert.deepEqual(names.map(({ name }) => name).sort(), [
      "__marmot__image_read",
      "__marmot__origin",
      "__marmot__part",
      "__marmot__stream",
      "__marmot__table",
      "__marmot__unique",
    ]);
    const mark = copy.prepare("SELECT origin FROM __marmot__origin").get();
    assert.equal(mark?.["origin"], "2");
    assert.equal(copy.prepare("PRAGMA journal_mode").get()?.["journal_mode"], "delete");
  });
}

Deno.test("copies of one schema have one hash, whatever their rows and Marmot's own tables", async () => {
  const hashOf = async (schema: string, ...later: string[]) => {
    using world = new TestReplica(schema);
    world.arm();
    for (const sql of later) world.application.exec(sql);
    return (await copyDatabase(world.path, `${world.path}.copy`)).schemaHash;
  };
  const hash = await hashOf(SCHEMA);
  assert.equal(await hashOf(SCHEMA, "INSERT INTO t VALUES (9, 'i', 9)"), hash);
  const others = ["ALTER TABLE t ADD COLUMN w", "CREATE INDEX by_u ON t (u, v)", "DROP VIEW seen"];
  const hashes = await Promise.all(others.map((sql) => hashOf(SCHEMA, sql)));
  assert.equal(new Set([hash, ...hashes]).size, others.length + 1);
});

Deno.test("a node that begins with a copy takes its rows for known, and publishes just what comes", async () => {
  using world = new TestReplica(SCHEMA + KEYED_BY_ROWID);
  world.arm();
  world.apply("t", [upsert(3n, "c", null)]);
  using other = new TestReplica("SELECT 1");
  const path = `${world.path}.copy`;
  await copyDatabase(world.path, path);
  rmSync(other.path, { force: true });
  await placeDatabase(path, other.path);
  const report = other.reopen({ nodeId: 7n }).arm();
  assert.deepEqual([report?.uncaptured, report?.appeared, report?.renumbered], [[], [], []]);
  assert.equal(other.replica.log.highestId(), 0);
  assert.deepEqual(other.replica.positions.all(), world.replica.positions.all());
  using application = new DatabaseSync(other.path);
  application.exec("INSERT INTO log (line) VALUES ('ten')");
  assert.equal(other.replica.log.highestId(), 1);
});

Deno.test("a database whose rows are not those of its cursors gives no copy, and the reason", async () => {
  const cases: [string, RegExp][] = [
    [
      "INSERT INTO __marmot__hidden (table_id, key_identity, body, stream, sequence) VALUES (1, 1, x'', 's', 1)",
      /clash/,
    ],
    [
      "INSERT INTO __marmot__parked (table_name, stream, sequence, origin, top, message, reason) VALUES ('t', 's', 1, '2', 0, x'', '')",
      /wait for the schema/,
    ],
    ["INSERT INTO __marmot__image (table_id, id, is_done) VALUES (1, 1, 0)", /changed without capture/],
    ["INSERT INTO __marmot__resync VALUES ('t', 's', 1, 1, 0)", /needs a new copy/],
    ["INSERT INTO __marmot__meta VALUES ('paused', 1)", /capture is paused/],
  ];
  for (const [sql, reason] of cases) {
    using world = new TestReplica(SCHEMA);
    world.arm();
    world.application.exec(sql);
    const path = `${world.path}.copy`;
    await assert.rejects(copyDatabase(world.path, path), (error: Error) => reason.test(error.message));
    assert.ok(!existsSync(path));
  }
});

Deno.test("a database that Marmot never had gives no copy", async () => {
  using world = new TestReplica(SCHEMA);
  await assert.rejects(copyDatabase(world.path, `${world.path}.copy`), /Marmot has not replicated it yet/);
});

Deno.test("a damaged database gives no copy that passes for sound", async () => {
  using world = new TestReplica(SCHEMA + KEYED_BY_ROWID);
  world.arm();
  world.application.exec(
    "WITH RECURSIVE n (i) AS (VALUES (10) UNION ALL SELECT i + 1 FROM n WHERE i < 500) " +
      "INSERT INTO t SELECT i, 'u' || i, randomblob(500) FROM n",
  );
  world.application.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  const [page] = Object.values(
    world.application.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'by_v'").get() ?? {},
  );
  world.replica.close();
  world.application.close();
  const bytes = readFileSync(world.path);
  bytes.fill(0x55, (Number(page) - 1) * 4096 + 12, Number(page) * 4096);
  writeFileSync(world.path, bytes);
  const path = `${world.path}.copy`;
  const copyAndCheck = async () => {
    await copyDatabase(world.path, path);
    assertSound(path, world.path);
  };
  await assert.rejects(copyAndCheck, /Cannot make a snapshot of ".*": its copy is damaged/);
});

Deno.test("a backup has nothing of Marmot's, and what was dropped is not in its free pages", async () => {
  using world = new TestReplica(SCHEMA + KEYED_BY_ROWID);
  const before = dumpSchema(world.application);
  world.arm();
  world.application.exec(
    "INSERT INTO __marmot__quarantine (stream, sequence, subject, payload, reason, at_ms) " +
      "VALUES ('s', 1, 's', CAST('what was put aside' AS BLOB), '', 0)",
  );
  const path = `${world.path}.copy`;
  await copyDatabase(world.path, path);
  assert.ok(!readFileSync(path).includes("what was put aside"));
  const connection = openDatabase(path);
  stripCopy(connection, "backup");
  connection.close();
  using copy = new DatabaseSync(path);
  assert.equal(dumpSchema(copy), before);
});

Deno.test("a database is put in the place of an empty one that the application has open", async () => {
  for (
    const made of [
      "SELECT 1",
      "PRAGMA journal_mode = WAL",
      "PRAGMA page_size = 8192",
    ]
  ) {
    using world = new TestReplica(SCHEMA);
    world.arm();
    const path = `${world.path}.copy`;
    await copyDatabase(world.path, path);
    using other = new TestReplica(made);
    assert.equal(lookAtDatabase(other.path), "empty");
    await placeDatabase(path, other.path);
    assert.ok(!existsSync(path));
    assert.equal(other.application.prepare("SELECT count(*) AS n FROM t").get()?.["n"], 2, made);
    other.application.exec("INSERT INTO t VALUES (10, 'x', 'seen by all')");
    using third = new DatabaseSync(other.path);
    assert.equal(third.prepare("SELECT count(*) AS n FROM t").get()?.["n"], 3);
  }
});

Deno.test("a database with tables is not replaced", async () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const path = `${world.path}.copy`;
  await copyDatabase(world.path, path);
  using other = new TestReplica("CREATE TABLE mine (id INTEGER PRIMARY KEY)");
  assert.equal(lookAtDatabase(other.path), "occupied");
  await assert.rejects(placeDatabase(path, other.path), /there are tables by now/);
  assert.deepEqual([...other.dump().keys()], ["mine"]);
});

Deno.test("an empty database with pages of another size is left as it is", async () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const path = `${world.path}.copy`;
  await copyDatabase(world.path, path);
  using other = new TestReplica("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; VACUUM");
  await assert.rejects(placeDatabase(path, other.path), /its pages have 8192 bytes, the snapshot's 4096/);
  assert.equal(lookAtDatabase(other.path), "empty");
});
