import assert from "node:assert/strict";
import { dumpSchema } from "../../scripts/table_dump.ts";
import { removeMarmot } from "../../src/db/state/remove_marmot.ts";
import { openDatabase } from "../../src/db/open_database.ts";
import { deletion, OWN_ID, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = `
  CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE);
  CREATE TABLE "a.b c" (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
  CREATE VIEW v AS SELECT * FROM t;
  CREATE TRIGGER refuse BEFORE INSERT ON t WHEN NEW.u = 'bad' BEGIN SELECT RAISE(ABORT, 'bad'); END;
  CREATE TABLE "__marmot_lookalike" (id INTEGER PRIMARY KEY);
  INSERT INTO t VALUES (1, 'a');`;

Deno.test("nothing of Marmot's is left, and nothing of the application's is gone", () => {
  using world = new TestReplica(SCHEMA);
  const before = dumpSchema(world.application);
  world.arm();
  world.apply("t", [upsert(2n, "b")]);
  world.application.exec("INSERT INTO t VALUES (3, 'c')");
  const rows = world.dump();
  world.replica.close();
  const connection = openDatabase(world.path);
  const removed = removeMarmot(connection);
  assert.deepEqual(removeMarmot(connection), { triggers: 0, tables: 0 });
  connection.close();
  assert.ok(removed.triggers >= 12 && removed.tables >= 8, JSON.stringify(removed));
  assert.equal(dumpSchema(world.application), before);
  assert.deepEqual(world.dump(), rows);
});

Deno.test("changes that go with the change log are counted before they are gone; what was read back is none", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const connection = openDatabase(world.path);
  try {
    world.application.exec("INSERT INTO t VALUES (3, 'c'), (4, 'd'); DELETE FROM t WHERE id = 1");
    const refuse = (changes: number) => {
      throw new Error(`${changes} changes`);
    };
    assert.throws(() => removeMarmot(connection, refuse), /^Error: 3 changes$/);
    world.apply("t", [upsert(3n, "c"), upsert(4n, "d"), deletion(1n)], {
      origin: OWN_ID,
      run: world.replica.run,
    });
    assert.ok(removeMarmot(connection, refuse).tables > 0);
  } finally {
    connection.close();
  }
});

Deno.test("a database that Marmot was removed from can be used again, as at the first start", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec("INSERT INTO t VALUES (3, 'c')");
  world.replica.close();
  const connection = openDatabase(world.path);
  removeMarmot(connection);
  connection.close();
  world.reopen();
  assert.deepEqual(world.arm().appeared, []);
  assert.deepEqual(world.entries(), []);
});

Deno.test("a node that Marmot is removed under says so in a sentence, with what to do", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const connection = openDatabase(world.path);
  removeMarmot(connection);
  connection.close();
  assert.throws(() => world.replica.pausedSinceMs(), {
    name: "MarmotError",
    code: "database",
    message: "Cannot go on with the database: Marmot's tables were removed from it, as -cleanup does",
    hint:
      "Stop Marmot before -cleanup. To replicate again, begin with a new copy of another node's database.",
  });
});
