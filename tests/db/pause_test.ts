import assert from "node:assert/strict";
import { beginPause, endPause, readPause } from "../../src/db/capture/pause.ts";
import { Connection } from "../../src/db/connection.ts";
import type { ChangeEvent } from "../../src/wire/batch.ts";
import { deletion, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA =
  "CREATE TABLE t (id INTEGER PRIMARY KEY, code UNIQUE, v); INSERT INTO t VALUES (1, 'a', 'one')";
/** In one transaction, as a migration does it. */
const MIGRATION = "BEGIN; DROP INDEX by_v; ALTER TABLE t DROP COLUMN v; COMMIT";

/** An operator's connection beside the replica's. */
function withOperator<T>(world: TestReplica, work: (connection: Connection) => T): T {
  const connection = new Connection(world.path);
  try {
    return work(connection);
  } finally {
    connection.close();
  }
}

/** The events that a node would publish now, by table. */
function published(world: TestReplica): Record<string, ChangeEvent[]> {
  const request = {
    after: new Map([[1, 0]]),
    upTo: 99,
    shardOf: () => 1,
    shardsOf: () => [1],
    maxEntries: 99,
    maxBytes: 9999,
  };
  const sets = world.replica.scan(request)?.sets ?? [];
  return Object.fromEntries(sets.map((set) => [set.table.schema.name, set.events]));
}

function imagesDue(world: TestReplica): string[] {
  return world.replica.tablesOfDueImages().map((table) => table.schema.name);
}

Deno.test("a pause lets a migration drop an indexed column in one transaction, and its end publishes what was written", () => {
  using world = new TestReplica(`${SCHEMA}; CREATE UNIQUE INDEX by_v ON t (v)`);
  world.arm();
  assert.throws(() => world.application.exec(MIGRATION), /no such column: .*v|error in trigger/);
  world.application.exec("ROLLBACK");
  const pause = withOperator(world, (connection) => beginPause(connection, 1000));
  assert.deepEqual([pause.triggers, pause.wasPaused], [2, false]);
  world.application.exec(MIGRATION);
  world.application.exec("INSERT OR REPLACE INTO t VALUES (2, 'a'); DELETE FROM t WHERE id = 9");
  assert.equal(world.replica.arm(), undefined);
  assert.equal(withOperator(world, endPause), 1000);
  // Nobody saw that REPLACE has removed the row with the id 1.
  assert.deepEqual(world.arm().uncaptured, ["t"]);
  assert.deepEqual(imagesDue(world), ["t"]);
  assert.deepEqual(published(world), { t: [upsert(2n, "a")] });
  world.application.exec("INSERT OR REPLACE INTO t VALUES (3, 'a')");
  assert.deepEqual(published(world), { t: [deletion(2n), upsert(3n, "a")] }, "the triggers are back");
  assert.deepEqual(world.arm().uncaptured, []);
});

Deno.test("a pause without a window publishes only what was written in it, through every change of schema", () => {
  using world = new TestReplica(
    "CREATE TABLE plain (id INTEGER PRIMARY KEY, a, b); INSERT INTO plain VALUES (1, 'a', 'b'), (2, 'a', 'b');" +
      "CREATE INDEX by_a ON plain (a); CREATE TABLE rebuilt (k TEXT PRIMARY KEY, v); INSERT INTO rebuilt VALUES ('k', 1);" +
      "CREATE TABLE still (id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO still VALUES (1, 'u');" +
      "CREATE TABLE late (id INTEGER PRIMARY KEY, u); INSERT INTO late VALUES (1, 'u')",
  );
  world.arm();
  const began = world.rows("PRAGMA schema_version");
  withOperator(world, (connection) => beginPause(connection, 1000));
  assert.notDeepEqual(world.rows("PRAGMA schema_version"), began);
  assert.equal(world.replica.hasNewSchema(), true);
  world.application.exec(
    "BEGIN; DROP INDEX by_a; ALTER TABLE plain DROP COLUMN a; COMMIT; ALTER TABLE plain RENAME COLUMN b TO c;" +
      "ALTER TABLE plain RENAME TO named; UPDATE named SET c = 'new' WHERE id = 1; DELETE FROM named WHERE id = 2;" +
      "INSERT INTO named VALUES (3, 'three'); UPDATE named SET id = 4 WHERE id = 3;" +
      "BEGIN; CREATE TABLE n (k TEXT PRIMARY KEY, v, w); INSERT INTO n SELECT k, v, 0 FROM rebuilt; DROP TABLE rebuilt;" +
      "ALTER TABLE n RENAME TO rebuilt; COMMIT; CREATE UNIQUE INDEX late_u ON late (u); REPLACE INTO late VALUES (2, 'u');",
  );
  assert.equal(world.replica.arm(), undefined);
  withOperator(world, endPause);
  world.reopen();
  const report = world.arm();
  assert.deepEqual(report.renamed, [["plain", "named"]]);
  assert.deepEqual(report.uncaptured, ["late", "rebuilt"], "one by REPLACE, one was rebuilt");
  assert.deepEqual(imagesDue(world).sort(), ["late", "rebuilt"]);
  assert.deepEqual(published(world)["named"], [
    upsert(1n, "new"),
    deletion(2n),
    deletion(3n),
    upsert(4n, "three"),
  ]);
  assert.equal(published(world)["still"], undefined);
});

Deno.test("a pause that ends without a change moves nothing, and one that begins again keeps what it missed", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const pause = (isBegin: boolean) =>
    withOperator(world, (connection) => void (isBegin ? beginPause(connection, 1000) : endPause(connection)));
  pause(true);
  pause(false);
  assert.deepEqual(world.arm().uncaptured, []);
  assert.deepEqual(world.entries(), []);
  pause(true);
  world.application.exec("REPLACE INTO t VALUES (2, 'a', 'two')");
  pause(false);
  pause(true);
  pause(false);
  assert.deepEqual(world.arm().uncaptured, ["t"]);
});

Deno.test("a paused node neither publishes nor applies, also one that starts in the pause", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec("UPDATE t SET v = 'two'");
  const message = world.message("t", [upsert(5n, "e", "theirs")]);
  withOperator(world, (connection) => beginPause(connection, 1000));
  for (const open of [() => world.replica, () => world.reopen()]) {
    const replica = open();
    assert.equal(replica.pausedSinceMs(), 1000);
    assert.equal(replica.arm(), undefined);
    assert.equal(replica.apply([message], { rows: 10, milliseconds: 10 }), undefined);
    const request = {
      after: new Map([[1, 0]]),
      upTo: 99,
      shardOf: () => 1,
      shardsOf: () => [1],
      maxEntries: 9,
      maxBytes: 999,
    };
    assert.equal(replica.scan(request), undefined);
  }
  withOperator(world, endPause);
  world.arm();
  assert.equal(world.replica.apply([message], { rows: 10, milliseconds: 10 })?.written, 1);
  assert.ok(
    world.entries().some((entry) => entry[1] === 0n),
    "what was captured before the pause is still pending",
  );
});

Deno.test("a pause that has begun keeps its beginning, and ends once", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  withOperator(world, (connection) => {
    beginPause(connection, 1000);
    assert.deepEqual(beginPause(connection, 2000), { sinceMs: 1000, triggers: 0, wasPaused: true });
    assert.equal(readPause(connection), 1000);
    assert.equal(endPause(connection), 1000);
    assert.equal(endPause(connection), undefined);
    assert.equal(readPause(connection), undefined);
  });
});
