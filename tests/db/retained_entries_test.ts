/** What a node keeps of what it has published, and what goes out again when a stream has lost it. */
import assert from "node:assert/strict";
import { deletion, OWN_ID, TestReplica, upsert } from "./test_replica.ts";
import { entryKinds } from "../../src/db/state/state_tables.ts";
import type { ChangeEvent } from "../../src/wire/batch.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v)";

function armedWorld(retention = { milliseconds: 1000, entries: 2 }): TestReplica {
  const world = new TestReplica(SCHEMA, { retention });
  world.arm();
  return world;
}

/** The application runs a statement, and its echo comes back. */
function publish(world: TestReplica, sql: string, ...events: ChangeEvent[]): void {
  world.application.exec(sql);
  const { run, log } = world.replica;
  world.apply("t", events, { origin: OWN_ID, run, top: log.highestId() });
}

function goBack(world: TestReplica, agreed: number): number {
  return world.replica.recovery.goBack(
    { name: "s", createdAt: "then", cursor: agreed, storedAt: "" },
    agreed,
  );
}

/** Kind and key of the entries that are not settled. */
function pending(world: TestReplica): unknown[] {
  return world.entries().filter((entry) => entry[1] !== BigInt(entryKinds.settled)).map((entry) =>
    entry.slice(1)
  );
}

function retained(world: TestReplica): number[] {
  return world.replica.recovery.retainedEchoes("s").map((echo) => echo.sequence);
}

const BACKFILL = BigInt(entryKinds.backfill);

Deno.test("what stands behind the sequence that agrees goes out again, once for each row", () => {
  using world = armedWorld();
  publish(world, "INSERT INTO t VALUES (1, 'a', 0)", upsert(1n, "a", 0n));
  publish(world, "INSERT INTO t VALUES (2, 'b', 0)", upsert(2n, "b", 0n));
  publish(world, "UPDATE t SET v = 1 WHERE id = 2", upsert(2n, "b", 1n));
  publish(world, "DELETE FROM t WHERE id = 1", deletion(1n));
  assert.deepEqual(pending(world), []);
  assert.equal(goBack(world, 1), 2);
  assert.deepEqual(pending(world), [[BACKFILL, 2n], [BACKFILL, 1n]]);
  assert.deepEqual(retained(world), [1]);
  assert.equal(world.replica.positions.get("s").cursor, 1);
});

Deno.test("nothing goes out again of a stream that lost nothing of ours", () => {
  using world = armedWorld();
  publish(world, "INSERT INTO t VALUES (1, 'a', 0)", upsert(1n, "a", 0n));
  world.apply("t", [upsert(9n, "theirs", 0n)]);
  assert.equal(goBack(world, 1), 0);
  assert.deepEqual(pending(world), []);
});

Deno.test("a row that our message has displaced goes out again with it, as a deletion", () => {
  using world = armedWorld();
  world.application.exec("INSERT INTO t VALUES (1, 'x', 'ours')");
  // Stored before our message, and not known to the application: hidden, then displaced by our echo.
  world.apply("t", [upsert(2n, "x", "theirs")]);
  publish(world, "SELECT 1", upsert(1n, "x", "ours"));
  assert.deepEqual(world.rows("SELECT id FROM t"), [[1]]);
  goBack(world, 1);
  assert.deepEqual(new Set(pending(world).map(String)), new Set([`${BACKFILL},1`, `${BACKFILL},2`]));
});

Deno.test("it is kept for the time and the number of entries that were asked for", () => {
  using world = armedWorld();
  publish(world, "INSERT INTO t VALUES (1, 'a', 0)", upsert(1n, "a", 0n));
  publish(world, "INSERT INTO t VALUES (2, 'b', 0)", upsert(2n, "b", 0n));
  world.nowMs += 2000;
  publish(world, "INSERT INTO t VALUES (3, 'c', 0)", upsert(3n, "c", 0n));
  assert.deepEqual(retained(world), [2, 3], "two entries in any case");
  publish(world, "INSERT INTO t VALUES (4, 'd', 0)", upsert(4n, "d", 0n));
  publish(world, "INSERT INTO t VALUES (5, 'e', 0)", upsert(5n, "e", 0n));
  assert.deepEqual(retained(world), [3, 4, 5], "and all that are young enough");
});

Deno.test("keys keep their storage class, and a restart loses nothing", () => {
  using world = new TestReplica("CREATE TABLE t (k PRIMARY KEY, u UNIQUE, v)");
  world.arm();
  const raw = new Uint8Array([0xff, 0]);
  world.application.prepare("INSERT INTO t VALUES (?, 1, 0), (CAST(? AS TEXT), 2, 0)").run(raw, raw);
  const { run } = world.replica;
  const events = world.table("t").rows;
  const rows = world.rows("SELECT typeof(k) FROM t ORDER BY u");
  assert.deepEqual(rows, [["blob"], ["text"]]);
  const entries = world.replica.log.read(0, 10).flatMap((entry) => events.read(entry.key.slice(0, 1)));
  world.apply("t", entries.map((row) => upsert(...row)), { origin: OWN_ID, run, top: 2 });
  assert.deepEqual(pending(world), []);
  world.reopen();
  world.arm();
  assert.equal(goBack(world, 0), 2);
  assert.deepEqual(
    world.rows("SELECT typeof(k0), hex(k0) FROM __marmot__change_log WHERE kind = 2 ORDER BY id"),
    [["blob", "FF00"], ["text", "FF00"]],
  );
});
