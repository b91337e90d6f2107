import assert from "node:assert/strict";
import { Quarantine } from "../../src/db/apply/quarantine.ts";
import type { RetryResult } from "../../src/db/apply/quarantine_retry.ts";
import { Connection } from "../../src/db/connection.ts";
import { discardQuarantined, listQuarantine, markForRetry } from "../../src/db/operator/quarantine_box.ts";
import type { ChangeEvent } from "../../src/wire/batch.ts";
import { BATCH_FORMAT } from "../../src/wire/batch_codec.ts";
import { deletion, type MessageLayout, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE); INSERT INTO t VALUES (1, 'one');" +
  "CREATE TABLE other (id INTEGER PRIMARY KEY)";
const BOUNDS = { rows: 100, milliseconds: 100 };

function makeWorld(): TestReplica {
  const world = new TestReplica(SCHEMA);
  world.arm();
  return world;
}

/** A message of another format version, which this release puts into quarantine. */
function quarantine(world: TestReplica, events: readonly ChangeEvent[], layout: MessageLayout = {}): void {
  const message = world.message("t", events, layout);
  assert.equal(world.replica.apply([{ ...message, format: "other/1" }], BOUNDS)?.quarantined, 1);
}

/** As after an upgrade that reads what the release before could not. */
function upgrade(world: TestReplica): void {
  world.application.exec(`UPDATE __marmot__quarantine SET format = '${BATCH_FORMAT}'`);
}

/** What a command does: marks messages, all unless told which. */
function mark(world: TestReplica, id?: bigint): number[] {
  const connection = new Connection(world.path);
  try {
    return markForRetry(connection, id);
  } finally {
    connection.close();
  }
}

/** What the node does about it. */
function retryAll(world: TestReplica): RetryResult[] {
  mark(world);
  assert.ok(world.replica.takeOperatorRequest());
  const results: RetryResult[] = [];
  for (let after = 0;; after = results.at(-1)?.id ?? after) {
    const result = world.replica.retryQuarantined(after);
    if (!result) return results;
    results.push(result);
  }
}

Deno.test("what an upgrade can read is taken up in order, and published for nodes that put it aside too", () => {
  using world = makeWorld();
  quarantine(world, [upsert(2n, "two"), upsert(3n, "three")]);
  quarantine(world, [upsert(2n, "TWO"), deletion(1n)]);
  world.apply("other", [upsert(7n)], { origin: 3n });
  upgrade(world);
  assert.deepEqual(retryAll(world), [
    { id: 1, kind: "applied", table: "t" },
    { id: 2, kind: "applied", table: "t" },
  ]);
  assert.deepEqual(world.rows("SELECT * FROM t"), [[2, "TWO"], [3, "three"]]);
  assert.deepEqual(world.rows("SELECT count(*) FROM __marmot__quarantine"), [[0]]);
  const backfill = world.entries().filter((entry) => entry[1] === 2n).map((entry) => entry[2]);
  assert.deepEqual(backfill.sort(), [1n, 2n, 3n]);
});

Deno.test("a message stays where a later event of its table was applied: nothing later is undone", () => {
  using world = makeWorld();
  quarantine(world, [upsert(2n, "taken")]);
  // The row that takes the value is gone by now: no row tells that the message has lost.
  world.apply("t", [upsert(3n, "taken")], { origin: 3n });
  world.apply("t", [deletion(3n)], { origin: 3n });
  upgrade(world);
  const before = world.dump();
  const [result] = retryAll(world);
  assert.ok(
    result?.kind === "stays" && result.reason.startsWith("later changes of its table were applied since"),
  );
  assert.deepEqual(world.dump(), before);
  assert.deepEqual(world.entries(), []);
  assert.deepEqual(world.rows("SELECT retry, reason FROM __marmot__quarantine"), [[0, result.reason]]);
});

Deno.test("what was applied before, in the same transaction, does not follow", () => {
  using world = makeWorld();
  const before = world.message("t", [upsert(2n, "before")], { origin: 3n });
  const message = { ...world.message("t", [upsert(2n, "two")]), format: "other/1" };
  const after = world.message("other", [upsert(7n)], { origin: 3n });
  assert.equal(world.replica.apply([before, message, after], BOUNDS)?.messages, 3);
  upgrade(world);
  assert.deepEqual(retryAll(world), [{ id: 1, kind: "applied", table: "t" }]);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 2"), [["two"]]);
});

Deno.test("what was applied behind it in the same transaction follows", () => {
  using world = makeWorld();
  const message = { ...world.message("t", [upsert(2n, "two")]), format: "other/1" };
  const after = world.message("t", [upsert(2n, "after")], { origin: 3n });
  assert.equal(world.replica.apply([message, after], BOUNDS)?.messages, 2);
  upgrade(world);
  assert.equal(retryAll(world)[0]?.kind, "stays");
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 2"), [["after"]]);
});

Deno.test("an id that followed a discarded message is not taken for what followed a new one", () => {
  using world = makeWorld();
  quarantine(world, [upsert(2n, "two")]);
  world.apply("t", [upsert(3n, "three")], { origin: 3n });
  const connection = new Connection(world.path);
  assert.equal(discardQuarantined(connection), 1);
  connection.close();
  quarantine(world, [upsert(4n, "four")]);
  upgrade(world);
  assert.deepEqual(retryAll(world), [{ id: 2, kind: "applied", table: "t" }]);
});

Deno.test("a message waits while a local change of its table is not published, and keeps its mark", () => {
  using world = makeWorld();
  quarantine(world, [upsert(2n, "two")]);
  world.application.exec("UPDATE t SET v = 'ours' WHERE id = 1");
  upgrade(world);
  assert.deepEqual(retryAll(world), [{ id: 1, kind: "waits" }]);
  assert.deepEqual(world.rows("SELECT retry FROM __marmot__quarantine"), [[1]]);
  assert.deepEqual(world.rows("SELECT count(*) FROM t"), [[1]]);
});

Deno.test("what can't be applied still, or not for certain, stays with the reason", () => {
  const cases: [string, (world: TestReplica) => void, RegExp][] = [
    [
      "not readable",
      (world) => quarantine(world, [upsert(2n, "two")]),
      /^Cannot read a message of format "other\/1"/,
    ],
    ["given up", (world) => {
      quarantine(world, [upsert(2n, "two")]);
      world.apply("other", [upsert(7n)]);
      upgrade(world);
    }, /^newer messages of its origin were read since/],
    ["its own", (world) => {
      quarantine(world, [upsert(2n, "two")], { origin: 1n });
      upgrade(world);
    }, /^it is this node's own/],
    ["no table", (world) => {
      quarantine(world, [upsert(2n, "two")]);
      upgrade(world);
      world.application.exec("DROP TABLE t");
      world.arm();
    }, /^there is no table "t" here/],
    ["parked", (world) => {
      quarantine(world, [upsert(2n, "two")]);
      world.apply("t", [upsert(3n, "three", 1n)], { columns: ["id", "v", "more"], origin: 3n });
      upgrade(world);
    }, /^earlier events of its table are parked/],
    ["does not fit", (world) => {
      quarantine(world, [upsert(2n, "two", 1n)], { columns: ["id", "v", "more"] });
      upgrade(world);
    }, /more/],
  ];
  for (const [name, prepare, reason] of cases) {
    using world = makeWorld();
    prepare(world);
    const [result] = retryAll(world);
    assert.ok(result?.kind === "stays", name);
    assert.match(result.reason, reason, name);
    assert.deepEqual(world.rows("SELECT retry FROM __marmot__quarantine"), [[0]], name);
    assert.equal(world.replica.retryQuarantined(0), undefined, name);
  }
});

Deno.test("what an older release put aside is refused: what followed it is not known", () => {
  using world = makeWorld();
  quarantine(world, [upsert(2n, "two")]);
  world.application.exec("UPDATE __marmot__quarantine SET retry = NULL");
  assert.throws(() => mark(world, 1n), /an older release put it aside/);
  assert.deepEqual(mark(world), []);
});

Deno.test("a mark that was set while no node ran is seen at the next start", () => {
  using world = makeWorld();
  quarantine(world, [upsert(2n, "two")]);
  upgrade(world);
  assert.deepEqual(mark(world), [1]);
  const replica = world.reopen();
  replica.arm();
  assert.ok(replica.takeOperatorRequest());
  assert.equal(replica.takeOperatorRequest(), false);
  assert.equal(replica.retryQuarantined(0)?.kind, "applied");
});

Deno.test("the quarantine is bounded in messages and in bytes, and says what had to go", () => {
  using world = makeWorld();
  const connection = new Connection(world.path);
  try {
    const put = (box: Quarantine, bytes: number) =>
      box.put({ stream: "s", sequence: 1, subject: "s", format: null, payload: new Uint8Array(bytes) }, {
        reason: "it is broken",
        atMs: 0,
      });
    const box = new Quarantine(connection, { messages: 3, bytes: 100 });
    box.load();
    assert.deepEqual([10, 10, 10, 10].map((bytes) => put(box, bytes)), [0, 0, 0, 1]);
    assert.equal(put(box, 85), 2);
    assert.equal(put(box, 1000), 2, "the newest is kept whatever its size");
    assert.deepEqual(listQuarantine(connection, 9).map(({ id, bytes }) => [id, bytes]), [[6, 1000]]);
    const again = new Quarantine(connection, { messages: 3, bytes: 100 });
    again.load();
    assert.equal(put(again, 10), 1);
  } finally {
    connection.close();
  }
});
