/** Which entries of the change log a message settles, and which rows it writes: docs/design.md, "Pending rows". */
import assert from "node:assert/strict";
import { deletion, OTHER_ID, OWN_ID, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'old'), (2, 'old')";
const COPIER_ID = 9n;

function armedWorld(): TestReplica {
  const world = new TestReplica(SCHEMA);
  world.arm();
  return world;
}

/** Ids of the entries that are not settled. */
function pendingIds(world: TestReplica): number[] {
  return world.replica.log.read(0, 1000).filter((entry) => entry.kind !== 3).map((entry) => entry.id);
}

Deno.test("an echo settles the entries of its keys up to top, and writes none of these rows", () => {
  using world = armedWorld();
  world.application.exec("UPDATE t SET v = 'first' WHERE id = 1; UPDATE t SET v = 'second' WHERE id = 1");
  const { run } = world.replica;
  world.apply("t", [upsert(1n, "first")], { origin: OWN_ID, run, top: 1 });
  assert.deepEqual(pendingIds(world), [2]);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 1"), [["second"]]);
  world.apply("t", [upsert(1n, "second")], { origin: OWN_ID, run, top: 2 });
  assert.deepEqual(pendingIds(world), []);
});

Deno.test("a remote event does not write a pending row, and is on record as overwritten", () => {
  using world = armedWorld();
  world.application.exec("UPDATE t SET v = 'mine' WHERE id = 1");
  const outcome = world.apply("t", [upsert(1n, "theirs"), upsert(2n, "theirs")]);
  assert.deepEqual([outcome.written, outcome.overwritten], [1, 1]);
  assert.deepEqual(world.rows("SELECT v FROM t"), [["mine"], ["theirs"]]);
  assert.deepEqual(
    world.rows("SELECT table_name, kind, losing_origin, winner_origin FROM __marmot__conflict"),
    [["t", "overwritten", "2", "1"]],
  );
});

Deno.test("an own event of an earlier run settles a row only if it covers all entries and is the row's image", () => {
  using world = armedWorld();
  const { run } = world.replica;
  world.reopen();
  world.arm();
  world.application.exec(
    "UPDATE t SET v = 'a' WHERE id = 1; UPDATE t SET v = 'b' WHERE id = 2; UPDATE t SET v = 'c' WHERE id = 2",
  );
  world.apply("t", [upsert(1n, "another image"), upsert(2n, "c")], { origin: OWN_ID, run, top: 2 });
  assert.deepEqual(pendingIds(world), [1, 2, 3], "neither the image of row 1 nor all entries of row 2");
  world.apply("t", [upsert(1n, "a"), upsert(2n, "c")], { origin: OWN_ID, run, top: 3 });
  assert.deepEqual(pendingIds(world), []);
});

Deno.test("an own event of an earlier run is applied to rows that nothing is pending of", () => {
  using world = armedWorld();
  world.apply("t", [upsert(1n, "from before a crash"), deletion(2n)], { origin: OWN_ID, run: 1 });
  assert.deepEqual(world.rows("SELECT * FROM t"), [[1, "from before a crash"]]);
});

Deno.test("in a copied file the original's events settle what came with the copy, and no later change", () => {
  using world = armedWorld();
  world.application.exec(
    "UPDATE t SET v = 'inherited' WHERE id = 1; UPDATE t SET v = 'inherited' WHERE id = 2",
  );
  world.apply("t", [upsert(3n, "what else the original read")]);
  world.reopen({ nodeId: COPIER_ID });
  world.arm();
  world.application.exec("UPDATE t SET v = 'after the copy' WHERE id = 2");
  world.apply("t", [upsert(1n, "newer at the original"), upsert(2n, "newer at the original")], {
    origin: OWN_ID,
    run: 1,
    top: 50,
  });
  assert.deepEqual(pendingIds(world), [3]);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id < 3"), [["newer at the original"], [
    "after the copy",
  ]]);
});

Deno.test("what the application wrote in a copied file before Marmot ran on it is not the original's to settle", () => {
  using world = armedWorld();
  world.application.exec("UPDATE t SET v = 'inherited' WHERE id = 1");
  world.apply("t", [upsert(3n, "what else the original read")]);
  world.replica.close();
  world.application.exec("UPDATE t SET v = 'before the first start of the copy' WHERE id = 2");
  world.reopen({ nodeId: COPIER_ID });
  world.arm();
  world.apply("t", [upsert(1n, "newer"), upsert(2n, "newer")], { origin: OWN_ID, run: 1, top: 50 });
  assert.deepEqual(pendingIds(world), [2]);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id < 3"), [["newer"], [
    "before the first start of the copy",
  ]]);
});

Deno.test("a run of the original's id that began after the copy was made settles nothing: it may be another copy's", () => {
  using world = armedWorld();
  world.application.exec("UPDATE t SET v = 'mine' WHERE id = 1; UPDATE t SET v = 'mine' WHERE id = 2");
  world.apply("t", [upsert(3n, "what else the original read")]);
  const { run } = world.replica;
  world.reopen({ nodeId: COPIER_ID });
  world.arm();
  const stranger = { origin: OWN_ID, top: 50 };
  world.apply("t", [upsert(1n, "theirs")], { ...stranger, run });
  world.apply("t", [upsert(2n, "theirs")], { ...stranger, run: run + 1 });
  assert.deepEqual(pendingIds(world), [2]);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id < 3"), [["theirs"], ["mine"]]);
});

Deno.test("a message that is not above the highest of its origin settles and writes nothing", () => {
  using world = armedWorld();
  const late = world.message("t", [upsert(1n, "late")]);
  const newer = world.message("t", [upsert(1n, "newer")]);
  const bounds = { rows: 10, milliseconds: 100 };
  world.replica.apply([{ ...newer, sequence: 1 }], bounds);
  const outcome = world.replica.apply([{ ...late, sequence: 2 }], bounds);
  assert.equal(outcome?.ignored, 1);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 1"), [["newer"]]);
});

Deno.test("a message of the own id from a higher run stops the node: another process uses the id", () => {
  using world = armedWorld();
  const { run } = world.replica;
  assert.throws(
    () => world.apply("t", [upsert(1n, "x")], { origin: OWN_ID, run: run + 1 }),
    { name: "MarmotError", code: "identity" },
  );
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 1"), [["old"]]);
});

Deno.test("a backfill entry shields nothing, and ends when an event says what the row is", () => {
  using world = armedWorld();
  world.application.exec(
    "CREATE TABLE later (id INTEGER PRIMARY KEY, v); INSERT INTO later VALUES (1, 'here'), (2, 'here')",
  );
  world.arm();
  assert.equal(world.apply("later", [upsert(1n, "there")], { origin: OTHER_ID }).written, 1);
  assert.deepEqual(pendingIds(world), [2]);
  assert.deepEqual(world.rows("SELECT v FROM later"), [["there"], ["here"]]);
});

Deno.test("a message that is not the next of its stream is refused, and nothing is written", () => {
  using world = armedWorld();
  const message = world.message("t", [upsert(1n, "skipped one")]);
  assert.throws(
    () => world.replica.apply([{ ...message, sequence: 2 }], { rows: 10, milliseconds: 100 }),
    /1 is next/,
  );
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 1"), [["old"]]);
});

Deno.test("an own event from before the change log was begun settles nothing: its ids were given out again", () => {
  using world = new TestReplica(SCHEMA);
  const before = world.nowMs - 1000;
  world.arm();
  world.application.exec("UPDATE t SET v = 'written again' WHERE id = 1");
  const event = [upsert(1n, "written again")];
  world.apply("t", event, { origin: OWN_ID, run: before, top: 50 });
  world.apply("t", [upsert(1n, "came in between")]);
  assert.deepEqual(pendingIds(world), [1]);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 1"), [["written again"]]);
  const { run } = world.replica;
  world.nowMs += 1000;
  world.reopen();
  world.arm();
  world.apply("t", event, { origin: OWN_ID, run: before, top: 50 });
  assert.deepEqual(pendingIds(world), [1]);
  world.apply("t", event, { origin: OWN_ID, run, top: 1 });
  assert.deepEqual(pendingIds(world), []);
});

Deno.test("a backfill entry ends with an event of its row also where a later change of our own stays", () => {
  using world = armedWorld();
  world.application.exec(
    "CREATE TABLE later (id INTEGER PRIMARY KEY, v); INSERT INTO later VALUES (1, 'here')",
  );
  world.arm();
  world.application.exec("UPDATE later SET v = 'changed'");
  world.apply("later", [upsert(1n, "there")], { origin: OTHER_ID });
  assert.deepEqual(pendingIds(world), [2]);
  assert.deepEqual(world.rows("SELECT v FROM later"), [["changed"]]);
});
