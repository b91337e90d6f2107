import assert from "node:assert/strict";
import { beginPause, captureTriggerNames, endPause, readPause } from "../../src/db/capture/pause.ts";
import { Connection } from "../../src/db/connection.ts";
import { TestReplica, upsert } from "./test_replica.ts";

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

Deno.test("a pause lets a migration drop an indexed column in one transaction, and its end finds the window", () => {
  using world = new TestReplica(`${SCHEMA}; CREATE UNIQUE INDEX by_v ON t (v)`);
  world.arm();
  assert.throws(() => world.application.exec(MIGRATION), /no such column: .*v|error in trigger/);
  world.application.exec("ROLLBACK");
  const pause = withOperator(world, (connection) => beginPause(connection, 1000));
  assert.ok(pause.triggers > 0 && !pause.wasPaused);
  assert.deepEqual(withOperator(world, captureTriggerNames), []);
  world.application.exec(MIGRATION);
  world.application.exec("INSERT INTO t VALUES (2, 'b')");
  assert.deepEqual(world.entries(), []);
  assert.equal(world.replica.arm(), undefined);
  assert.equal(withOperator(world, endPause), 1000);
  assert.deepEqual(world.arm().uncaptured, ["t"]);
  assert.deepEqual(world.replica.tablesOfDueImages().map((table) => table.schema.name), ["t"]);
  world.application.exec("UPDATE t SET code = 'c' WHERE id = 2");
  assert.ok(world.entries().some((entry) => entry[1] === 0n && entry[2] === 2n));
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
    const request = { after: new Map([[1, 0]]), upTo: 99, shardOf: () => 1, maxEntries: 9, maxBytes: 999 };
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
