import assert from "node:assert/strict";
import { TriggerPolicy } from "../../src/db/capture/authorizer.ts";
import { Connection, SqliteError } from "../../src/db/connection.ts";
import { deletion, TestReplica, upsert } from "./test_replica.ts";

/** A connection on which the policy rules, with tables t, audit and other; the first two are replicated. */
function connect(triggers: string): { connection: Connection; policy: TriggerPolicy } & Disposable {
  const connection = new Connection(":memory:");
  connection.exec(`
    CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INT DEFAULT 0);
    CREATE TABLE audit (id INTEGER PRIMARY KEY, what TEXT);
    CREATE TABLE other (id INTEGER PRIMARY KEY, what TEXT);
    CREATE TABLE __marmot__change_log (id INTEGER PRIMARY KEY, table_id INT, kind INT DEFAULT 0, k0);
    ${triggers}`);
  const policy = new TriggerPolicy();
  policy.setReplicated(["t", "Audit"]);
  connection.setAuthorizer(policy.authorizer);
  return { connection, policy, [Symbol.dispose]: () => connection.close() };
}

function count(connection: Connection, table: string): number {
  return connection.integer(`SELECT count(*) FROM ${table}`);
}

Deno.test("an INSERT step of a trigger on a replicated table does nothing", () => {
  using world = connect(`
    CREATE TRIGGER a AFTER INSERT ON t BEGIN
      INSERT INTO AUDIT (what) VALUES ('insert');
      REPLACE INTO audit (id, what) VALUES (1, 'replace');
      INSERT INTO audit (id, what) VALUES (1, 'upsert') ON CONFLICT DO UPDATE SET what = 'upsert';
      INSERT INTO other (what) VALUES ('runs');
    END`);
  world.connection.exec("INSERT INTO t (id) VALUES (1)");
  assert.equal(count(world.connection, "audit"), 0);
  assert.equal(count(world.connection, "other"), 1);
});

Deno.test("an UPDATE step of a trigger on a replicated table does nothing", () => {
  using world = connect(`
    INSERT INTO other VALUES (1, 'before');
    CREATE TRIGGER a AFTER UPDATE OF v ON t BEGIN
      UPDATE t SET n = n + 1 WHERE id = NEW.id;
      UPDATE other SET what = 'after';
    END`);
  world.connection.exec("INSERT INTO t VALUES (1, 'a', 0); UPDATE t SET v = 'b'");
  assert.deepEqual(world.connection.statement("SELECT v, n FROM t").get(), ["b", 0n]);
  assert.deepEqual(world.connection.statement("SELECT what FROM other").get(), ["after"]);
});

Deno.test("a DELETE step of a trigger on a replicated table is refused while compiling, before harm", () => {
  using world = connect("CREATE TRIGGER a AFTER DELETE ON t BEGIN DELETE FROM audit; DELETE FROM other; END");
  world.connection.exec(
    "INSERT INTO t (id) VALUES (1); INSERT INTO audit VALUES (1, ''); INSERT INTO other VALUES (1, '')",
  );
  assert.throws(() => world.connection.prepare("DELETE FROM t"), SqliteError);
  assert.deepEqual(["t", "audit", "other"].map((table) => count(world.connection, table)), [1, 1, 1]);
});

Deno.test("a DELETE step of a trigger on a table that is not replicated runs", () => {
  using world = connect("CREATE TRIGGER a AFTER DELETE ON t BEGIN DELETE FROM other; END");
  world.connection.exec("INSERT INTO t (id) VALUES (1); INSERT INTO other VALUES (1, ''); DELETE FROM t");
  assert.equal(count(world.connection, "other"), 0);
});

Deno.test("statements of Marmot's own write replicated tables", () => {
  using world = connect("");
  world.connection.exec(
    "INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0); UPDATE t SET v = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2",
  );
  assert.deepEqual(world.connection.statement("SELECT * FROM t").all(), [[1n, "c", 0n]]);
});

Deno.test("capture triggers log nothing on Marmot's own connection", () => {
  using world = connect(`
    CREATE TRIGGER __marmot__1_insert AFTER INSERT ON t BEGIN INSERT INTO __marmot__change_log (table_id, k0) VALUES (1, NEW.id); END;
    CREATE TRIGGER __marmot__1_delete AFTER DELETE ON t BEGIN INSERT INTO __marmot__change_log (table_id, k0) VALUES (1, OLD.id); END;`);
  world.connection.exec("INSERT INTO t (id) VALUES (1); DELETE FROM t");
  assert.equal(count(world.connection, "__marmot__change_log"), 0);
});

Deno.test("SELECT and IN (SELECT …) in triggers work as ever", () => {
  using world = connect(`
    INSERT INTO audit VALUES (1, 'x');
    CREATE TRIGGER a AFTER INSERT ON t WHEN NEW.v IN (SELECT what FROM audit) BEGIN
      INSERT INTO other (what) SELECT what || NEW.v FROM audit WHERE what IN (SELECT v FROM t);
      INSERT INTO audit (what) SELECT v FROM t WHERE v IN (SELECT what FROM audit);
    END`);
  world.connection.exec("INSERT INTO t (v) VALUES ('x'), ('y')");
  assert.deepEqual(world.connection.statement("SELECT what FROM other").all(), [["xx"]]);
  assert.equal(count(world.connection, "audit"), 1);
});

Deno.test("FTS5 triggers keep external content exact", () => {
  using world = connect(`
    CREATE VIRTUAL TABLE f USING fts5(v, content = 't', content_rowid = 'id');
    CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO f (rowid, v) VALUES (NEW.id, NEW.v); END;
    CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO f (f, rowid, v) VALUES ('delete', OLD.id, OLD.v); END;`);
  world.connection.exec(
    "INSERT INTO t (id, v) VALUES (1, 'marmot'), (2, 'ibex'); DELETE FROM t WHERE id = 1",
  );
  assert.deepEqual(world.connection.statement("SELECT rowid FROM f WHERE f MATCH 'marmot OR ibex'").all(), [[
    2n,
  ]]);
  world.connection.exec("INSERT INTO f (f, rank) VALUES ('integrity-check', 1)");
});

Deno.test("recording tells which triggers a statement reaches, through others too, and which of them delete", () => {
  using world = connect(`
    CREATE VIEW w AS SELECT * FROM other;
    CREATE TRIGGER direct AFTER UPDATE ON t BEGIN INSERT INTO w VALUES (NEW.id, ''); END;
    CREATE TRIGGER nested INSTEAD OF INSERT ON w BEGIN DELETE FROM audit; END;
    CREATE TRIGGER unreached AFTER DELETE ON t BEGIN DELETE FROM audit; END;`);
  const recording = world.policy.record(() => world.connection.prepare("UPDATE t SET v = 'x'"));
  assert.deepEqual([...recording.reached].sort(), ["direct", "nested"]);
  assert.deepEqual([...recording.deleting], ["nested"]);
  assert.throws(() => world.connection.prepare("UPDATE t SET v = 'x' WHERE id = 1"), SqliteError);
});

const SUSPENDED = `
  CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INT DEFAULT 0);
  CREATE TABLE child (id INTEGER PRIMARY KEY, t INT);
  CREATE TABLE seen (id INTEGER PRIMARY KEY, what TEXT) ;
  CREATE TRIGGER refuse BEFORE INSERT ON t WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'bad'); END;
  create  trigger "Cascade it" after delete on t /* why */ begin delete from child where t = old.id; end;
  CREATE TRIGGER harmless AFTER INSERT ON t BEGIN UPDATE t SET n = 1 WHERE id = NEW.id; END;`;

Deno.test("triggers that delete or RAISE are taken away while Marmot applies, and are back unchanged", () => {
  using world = new TestReplica(SUSPENDED);
  world.application.exec("INSERT INTO t VALUES (1, 'one', 0); INSERT INTO child VALUES (1, 1)");
  world.arm();
  const before = world.rows(
    "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name",
  );
  assert.deepEqual(world.table("t").suspendedTriggers.map((trigger) => trigger.name).sort(), [
    "Cascade it",
    "refuse",
  ]);
  const outcome = world.apply("t", [deletion(1n), upsert(2n, "bad", 5n)]);
  assert.equal(outcome.parked + outcome.quarantined, 0);
  assert.deepEqual(world.rows("SELECT * FROM t"), [[2, "bad", 5]]);
  assert.deepEqual(world.rows("SELECT * FROM child"), [[1, 1]]);
  assert.deepEqual(
    world.rows("SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name"),
    before,
  );
  assert.deepEqual(world.entries(), []);
});

Deno.test("Marmot's own change of the schema does not look like the application's", () => {
  using world = new TestReplica(SUSPENDED);
  world.arm();
  world.apply("t", [upsert(1n, "a", 0n)]);
  assert.equal(world.apply("t", [upsert(1n, "b", 0n)]).written, 1);
  world.application.exec("CREATE TABLE later (id INTEGER PRIMARY KEY)");
  assert.throws(() => world.apply("t", [upsert(1n, "c", 0n)]), /schema has changed/);
});
