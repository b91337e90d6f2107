import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { ArmingReport } from "../../src/db/capture/arming.ts";
import { entryKinds } from "../../src/db/state/state_tables.ts";
import { deletion, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b');";

const BACKFILL = BigInt(entryKinds.backfill);

/** What the report says has happened, by names. */
function news(world: TestReplica, report: ArmingReport): Record<string, unknown> {
  const nameOf = (id: number) => world.replica.tables.byId(id)?.schema.name;
  const all = {
    excluded: report.excluded.map((table) => table.name),
    appeared: report.appeared,
    uncaptured: report.uncaptured,
    renumbered: report.renumbered,
    dropped: report.dropped,
    renamed: report.renamed,
    gainedColumns: report.gainedColumns.map(nameOf),
    uniqueChanged: report.uniqueChanged.map(nameOf),
  };
  return Object.fromEntries(Object.entries(all).filter(([, names]) => names.length > 0));
}

function triggerNames(world: TestReplica): unknown[] {
  return world.rows("SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name").flat();
}

Deno.test("at the first start the content is the common starting point: nothing is backfill", () => {
  using world = new TestReplica(SCHEMA);
  assert.deepEqual(news(world, world.arm()), {});
  assert.deepEqual(world.entries(), []);
  world.reopen();
  assert.deepEqual(news(world, world.arm()), {});
  assert.deepEqual(world.entries(), []);
});

Deno.test("arming again on the same schema leaves the triggers as they are", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const version = world.rows("PRAGMA schema_version");
  world.arm();
  assert.deepEqual(world.rows("PRAGMA schema_version"), version);
});

Deno.test("a table that appears later is backfilled, and a row written before arming is there once more at most", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec("CREATE TABLE later (k TEXT PRIMARY KEY); INSERT INTO later VALUES ('x'), ('y')");
  assert.deepEqual(news(world, world.arm()), { appeared: ["later"] });
  assert.deepEqual(world.entries(), [[2n, BACKFILL, "x"], [2n, BACKFILL, "y"]]);
});

Deno.test("a table that appeared while Marmot was down is backfilled too", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.reopen().close();
  world.application.exec("CREATE TABLE later (k TEXT PRIMARY KEY); INSERT INTO later VALUES ('x')");
  world.reopen();
  assert.deepEqual(news(world, world.arm()), { appeared: ["later"] });
});

Deno.test("added columns, renamed columns and tables, UNIQUE indexes and dropped tables are told apart", () => {
  using world = new TestReplica(`${SCHEMA} CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT)`);
  world.arm();
  const after = (sql: string) => {
    world.application.exec(sql);
    return news(world, world.arm());
  };
  assert.deepEqual(after("ALTER TABLE t ADD COLUMN w"), { gainedColumns: ["t"] });
  assert.deepEqual(after("ALTER TABLE t RENAME COLUMN w TO x"), {});
  assert.deepEqual(after("ALTER TABLE t DROP COLUMN x"), {});
  assert.deepEqual(world.table("t").memory.droppedColumns, ["x", "w"], "with its former name");
  assert.deepEqual(world.table("t").memory.renamedColumns, {});
  assert.deepEqual(world.entries(), []);
  assert.deepEqual(after("ALTER TABLE u RENAME TO u2"), { renamed: [["u", "u2"]] });
  assert.deepEqual(after("CREATE UNIQUE INDEX i ON t (v)"), { uniqueChanged: ["t"] });
  assert.deepEqual(world.entries(), [[1n, BACKFILL, 1n], [1n, BACKFILL, 2n]]);
  assert.deepEqual(after("DROP TABLE u2"), { dropped: ["u2"] });
  assert.deepEqual(after("CREATE TABLE u2 (other PRIMARY KEY)"), { appeared: ["u2"] });
});

Deno.test("triggers follow a table through RENAME and go on capturing before it is armed again", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec(
    "ALTER TABLE t RENAME TO renamed; ALTER TABLE renamed RENAME COLUMN id TO key; INSERT INTO renamed VALUES (3, 'c')",
  );
  assert.deepEqual(news(world, world.arm()), { renamed: [["t", "renamed"]] });
  assert.deepEqual(world.entries(), [[1n, 0n, 3n]]);
});

Deno.test("a table whose triggers are gone had an uncaptured window: an image of it is due", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec(
    "CREATE TABLE copy (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO copy SELECT * FROM t; DROP TABLE t; ALTER TABLE copy RENAME TO t",
  );
  assert.deepEqual(news(world, world.arm()), { uncaptured: ["t"] });
  assert.deepEqual(world.replica.tablesOfDueImages(), [world.table("t")]);
  assert.deepEqual(world.entries(), []);
  world.application.exec("INSERT INTO t VALUES (3, 'c')");
  assert.deepEqual(world.entries().at(-1), [1n, 0n, 3n]);
});

Deno.test("a rebuild in steps keeps what was captured on both tables", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec("CREATE TABLE copy (id INTEGER PRIMARY KEY, v TEXT)");
  world.arm();
  world.application.exec(
    "INSERT INTO t VALUES (3, 'c'); INSERT INTO copy SELECT * FROM t; DROP TABLE t; INSERT INTO copy VALUES (4, 'd'); ALTER TABLE copy RENAME TO t",
  );
  assert.deepEqual(news(world, world.arm()), { uncaptured: ["t"] });
  const changes = world.entries().filter((entry) => entry[1] === 0n);
  assert.deepEqual(changes.map((entry) => [entry[0], entry[2]]), [[1n, 3n], [1n, 1n], [1n, 2n], [1n, 3n], [
    1n,
    4n,
  ]]);
  assert.equal(triggerNames(world).every((name) => String(name).startsWith("__marmot__1_")), true);
});

Deno.test("a missing trigger is made again", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const before = triggerNames(world);
  world.application.exec("DROP TRIGGER __marmot__1_update");
  world.arm();
  assert.deepEqual(triggerNames(world), before);
});

Deno.test("a column called rowid renews the triggers of a table that is keyed by its rowid", () => {
  using world = new TestReplica("CREATE TABLE t (v TEXT)");
  world.arm();
  world.application.exec("ALTER TABLE t ADD COLUMN rowid TEXT");
  world.arm();
  world.application.exec("INSERT INTO t (v, rowid) VALUES ('a', 'b')");
  assert.deepEqual(world.entries(), [[1n, 0n, 1n]]);
});

Deno.test("a table that hides its rowid, and one that needs what only the application has, are left out by name", () => {
  const path = new TestReplica(SCHEMA);
  using world = path;
  const application = new DatabaseSync(world.path);
  application.function("only_here", { deterministic: true }, (value) => value);
  application.exec(
    "CREATE TABLE hidden (rowid, oid, _rowid_); CREATE TABLE checked (id INTEGER PRIMARY KEY, v CHECK (only_here(v) > 0));" +
      "INSERT INTO checked VALUES (1, 1)",
  );
  const report = world.arm();
  assert.deepEqual(report.excluded.map((table) => table.name), ["hidden", "checked"]);
  assert.match(report.excluded[1]?.reason ?? "", /only_here/);
  application.exec("INSERT INTO checked VALUES (2, 2); INSERT INTO hidden VALUES (1, 2, 3)");
  application.close();
  assert.deepEqual(world.entries(), []);
  assert.equal(world.apply("t", [upsert(3n, "c")]).written, 1);
});

Deno.test("neither Marmot's tables, nor SQLite's, nor virtual ones and their shadows are armed", () => {
  using world = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE VIRTUAL TABLE f USING fts5(x); ANALYZE",
  );
  const report = world.arm();
  assert.deepEqual(report.tables.map((table) => table.schema.name), ["t"]);
  assert.deepEqual(report.excluded, []);
});

Deno.test("events of a table that is dropped and comes back under its name (a rebuild in steps) are not lost", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec(
    "CREATE TABLE t_new (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t_new SELECT * FROM t; DROP TABLE t",
  );
  const columns = ["id", "v"];
  world.arm();
  assert.equal(world.apply("t", [upsert(3n, "between")], { columns }).parked, 1);
  world.application.exec("ALTER TABLE t_new RENAME TO t");
  world.arm();
  world.replica.retryParked({ rows: 1000, milliseconds: 1000 });
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 3"), [["between"]]);
  assert.deepEqual(world.replica.parkedTables(), []);
});

Deno.test("events of a table that stays dropped end after a minute", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec("DROP TABLE t");
  const columns = ["id", "v"];
  world.arm();
  assert.equal(world.apply("t", [upsert(3n, "at once")], { columns }).parked, 1);
  world.nowMs += 60_000;
  world.replica.retryParked({ rows: 1000, milliseconds: 1000 });
  assert.deepEqual(world.replica.parkedTables(), []);
  assert.equal(world.apply("t", [upsert(4n, "a minute later")], { columns }).parked, 0);
});

Deno.test("VACUUM on a table without a key publishes the new numbers, and the old ones as gone", () => {
  using world = new TestReplica(
    "CREATE TABLE k (v); INSERT INTO k (rowid, v) VALUES (2, 'a'), (5, 'b'), (9, 'c')",
  );
  world.arm();
  world.application.exec("VACUUM");
  assert.deepEqual(news(world, world.arm()), { renumbered: ["k"] });
  const keys = world.entries().map(([, kind, key]) => [kind, key]);
  assert.deepEqual(keys, [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n].map((rowid) => [BACKFILL, rowid]));
  assert.deepEqual(news(world, world.arm()), {}, "it is told once");
});

Deno.test("VACUUM that renumbers nothing, and rows that were deleted before it, publish nothing again", () => {
  using world = new TestReplica("CREATE TABLE k (v); INSERT INTO k (v) VALUES ('a'), ('b'), ('c')");
  world.arm();
  world.application.exec("VACUUM");
  assert.deepEqual(news(world, world.arm()), {});
  world.apply("k", [deletion(3n)]);
  world.application.exec("VACUUM");
  assert.deepEqual(news(world, world.arm()), {});
});

Deno.test("a start after the application has deleted the highest rows publishes nothing again", () => {
  using world = new TestReplica("CREATE TABLE k (v); INSERT INTO k (v) VALUES ('a'), ('b'), ('c')");
  world.arm();
  world.application.exec("DELETE FROM k WHERE rowid = 3");
  world.reopen();
  assert.deepEqual(news(world, world.arm()), {});
});

Deno.test("VACUUM while no node runs is seen at the next start", () => {
  using world = new TestReplica("CREATE TABLE k (v); INSERT INTO k (rowid, v) VALUES (2, 'a'), (5, 'b')");
  world.arm();
  world.application.exec("VACUUM");
  world.reopen();
  assert.deepEqual(news(world, world.arm()), { renumbered: ["k"] });
});

Deno.test("a table that takes the name of one that was renamed in the same transaction is another", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  // "z" is armed behind "t", in the order of names.
  world.application.exec(
    "BEGIN; ALTER TABLE t RENAME TO z; CREATE TABLE t (other INTEGER PRIMARY KEY); INSERT INTO t VALUES (7); COMMIT",
  );
  assert.deepEqual(news(world, world.arm()), { appeared: ["t"], renamed: [["t", "z"]] });
  assert.notEqual(world.table("t").id, world.table("z").id);
  assert.deepEqual(world.entries(), [[BigInt(world.table("t").id), BACKFILL, 7n]]);
});
