/** What is on record of an operator's wish, and what a move of a stream takes with it. */
import assert from "node:assert/strict";
import { requestMerge, requestResync, shardOf } from "../../src/db/operator/resync.ts";
import { withOperatorAccess } from "../../src/db/operator/operator_access.ts";
import { beginMerging, readMergeWish } from "../../src/db/state/merge_wish.ts";
import { readResync, type ResyncFrom, wantedOf } from "../../src/db/state/resync_request.ts";
import { TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v CHECK (v > 0))";
const BOUNDS = { rows: 100, milliseconds: 1000 };
const STREAMS = ["a-1", "a-2", "a-3"];

function makeWorld(): TestReplica {
  const world = new TestReplica(SCHEMA);
  world.arm();
  return world;
}

/** What is wanted of the shards 1 to 3, and for which streams a snapshot. */
function wished(world: TestReplica): [(ResyncFrom | null)[], string[]] {
  const { connection } = world.replica;
  const record = readResync(connection);
  return [[1, 2, 3].map((shard) => wantedOf(record, shard)), readMergeWish(connection)];
}

Deno.test("of several commands the last one for a stream counts, whatever they ask for", () => {
  using world = makeWorld();
  const moveTo = (from: ResyncFrom, shards?: number[]) =>
    withOperatorAccess(world.path, (connection) => requestResync(connection, { from, shards }));
  const merge = (streams: string[], isAll = false) =>
    withOperatorAccess(world.path, (connection) => requestMerge(connection, { streams, isAll }));
  moveTo("now");
  moveTo("first", [2]);
  assert.deepEqual(wished(world), [["now", "first", "now"], []]);
  merge(["a-3"]);
  assert.deepEqual(wished(world), [["now", "first", null], ["a-3"]]);
  merge(["a-2"]);
  assert.deepEqual(wished(world), [["now", null, null], ["a-3", "a-2"]]);
  moveTo("now", [3]);
  assert.deepEqual(wished(world), [["now", null, "now"], ["a-2"]]);
  merge(STREAMS, true);
  assert.deepEqual(wished(world), [[null, null, null], STREAMS]);
  moveTo("first");
  assert.deepEqual(wished(world), [["first", "first", "first"], []]);
  assert.ok(world.replica.takeOperatorRequest(), "a running node learns of it");
});

Deno.test("a wish for all streams is taken up for those that there are, and one that was moved before is not moved again", () => {
  using world = makeWorld();
  requestResync(world.replica.connection, { from: "now", shards: undefined });
  const position = { name: "s-2", createdAt: "then", cursor: 7, storedAt: "now" };
  assert.deepEqual(
    world.replica.recovery.moveStream(2, { from: "now", position, hasMore: false }),
    { stream: "s-2", from: "now", before: 0, cursor: 7, dropped: 0 },
  );
  assert.deepEqual(world.replica.recovery.takeUpResync(3), { shards: [1, 3], refused: [] });
  assert.equal(world.replica.recovery.resyncFrom(2), null);
  assert.deepEqual(world.reopen().positions.get("s-2"), position);
  for (const shard of [1, 3]) world.replica.recovery.endFirst(shard);
  assert.deepEqual(wished(world)[0], ["now", null, "now"], "what is wanted by now is another thing");
  requestResync(world.replica.connection, { from: "first", shards: undefined });
  for (const shard of [1, 2, 3]) world.replica.recovery.endFirst(shard);
  assert.deepEqual(wished(world)[0], [null, null, null]);
  assert.deepEqual(world.replica.recovery.takeUpResync(3), { shards: [], refused: [] });
  assert.equal(world.replica.recovery.takeUpResync(3), undefined, "nothing is on record");
});

for (
  const { name, from, cursor, left, marks, applied } of [
    { name: "now", from: "now", cursor: 9, left: 0, marks: 1, applied: [] },
    { name: "first, where nothing comes again", from: "first", cursor: 9, left: 3, marks: 1, applied: [] },
    { name: "first, where part comes again", from: "first", cursor: 1, left: 1, marks: 0, applied: [2, 3] },
  ] as const
) {
  Deno.test(`what waits of a stream, and what was read of it, is forgotten only as far as it comes again: ${name}`, () => {
    using world = makeWorld();
    world.replica.connection.exec("INSERT INTO __marmot__resync VALUES ('t', 's', 3, 1, 0)");
    const messages = [-1n, 2n, 3n].map((v) => world.message("t", [upsert(v, v)]));
    world.replica.apply(messages, BOUNDS);
    const position = { name: "s", createdAt: "then", cursor, storedAt: "" };
    const { dropped } = world.replica.recovery.moveStream(1, { from, position, hasMore: true });
    assert.equal(dropped, 3 - left);
    const count = (table: string) => world.rows(`SELECT count(*) FROM __marmot__${table}`)[0]?.[0];
    assert.deepEqual([count("parked"), count("origin")], [left, marks]);
    assert.equal(count("resync"), from === "now" || cursor < 3 ? 0 : 1, "whether lost events come again");
    if (applied.length === 0) return;
    world.replica.apply(messages.slice(1), BOUNDS);
    assert.equal(
      count("parked"),
      1 + applied.length,
      "they are not ignored: they wait behind the first again",
    );
  });
}

Deno.test("a snapshot that was taken over in part is not waited for by a stream that goes on elsewhere", () => {
  using world = makeWorld();
  const { connection } = world.replica;
  requestMerge(connection, { streams: ["s-1", "s-2"], isAll: true });
  connection.write(() => beginMerging(connection, "s-1"));
  const position = { name: "s-1", createdAt: "then", cursor: 7, storedAt: "" };
  world.replica.recovery.moveStream(1, { from: "now", position, hasMore: false });
  assert.deepEqual(["s-1", "s-2"].map((name) => world.replica.recovery.isMergeWished(name)), [false, true]);
});

Deno.test("a stream's shard is the number at the end of its name", () => {
  assert.deepEqual(["marmot-changes-3", "a-1-c-12", "a-0", "a"].map(shardOf), [3, 12, 0, 0]);
});
