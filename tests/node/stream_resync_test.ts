/** Nodes whose operator has them go on elsewhere in a stream: late ones, one that differs, one whose table is parked for good. */
import assert from "node:assert/strict";
import { requestResync } from "../../src/db/operator/resync.ts";
import { withOperatorAccess } from "../../src/db/operator/operator_access.ts";
import { readResync, type ResyncFrom, type ResyncRecord } from "../../src/db/state/resync_request.ts";
import { Rollout } from "./rollout.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const KEPT = 8;
const STREAM = "stream-1";

function resync(world: Rollout, from: ResyncFrom, shards?: readonly number[]): void {
  withOperatorAccess(world.node(2).path, (connection) => requestResync(connection, { from, shards }));
}

function recordOf(world: Rollout): ResyncRecord {
  return withOperatorAccess(world.node(2).path, readResync);
}

function cursorOf(world: Rollout): number {
  return Number(world.rows(2, "SELECT cursor FROM __marmot__stream")[0]?.[0] ?? 0);
}

const VALUES = "SELECT id, v FROM t ORDER BY id";

/** Node 2 was away while its stream lost what it had not read: one row per message, of ids 1 to 20. It has a change of its own. */
async function makeLate({ isStarted = true } = {}): Promise<Rollout> {
  const world = new Rollout({ nodes: 2, schema: SCHEMA, shards: 1, maxMessages: KEPT });
  await world.rest();
  world.sql(1, "INSERT INTO t VALUES (1, 'before')");
  await world.rest();
  world.node(2).crash();
  world.sql(2, "INSERT INTO t VALUES (100, 'own')");
  for (let id = 2; id <= 20; id++) {
    world.sql(1, `INSERT INTO t VALUES (${id}, 'missed')`);
    await world.time.pass(200);
  }
  if (isStarted) {
    world.node(2).start(world);
    await world.time.pass(1000);
    assert.deepEqual([...world.node(2).stopped], [STREAM]);
  }
  return world;
}

for (const isStarted of [true, false]) {
  Deno.test(`a late node goes on from now ${isStarted ? "while it runs" : "when it is started"}, and loses nothing of its own`, async () => {
    using world = await makeLate({ isStarted });
    const before = cursorOf(world);
    const last = world.server.lastSequence(1);
    resync(world, "now");
    if (!isStarted) {
      assert.equal(recordOf(world).all, "now", "it is on record until a node does it");
      world.node(2).start(world);
    }
    await world.rest();
    assert.deepEqual(recordOf(world), {
      all: null,
      shards: {},
      moves: [{ stream: STREAM, from: "now", before, cursor: last, dropped: 0 }],
      refused: [],
    });
    assert.deepEqual(world.rows(2, VALUES), [[1, "before"], [100, "own"]], "what was missed is not applied");
    assert.deepEqual(
      world.rows(1, "SELECT v FROM t WHERE id = 100"),
      [["own"]],
      "its own change is published",
    );
    world.sql(1, "UPDATE t SET v = 'again'");
    await world.converge();
  });
}

Deno.test("a late node that goes on from first has what the stream still holds", async () => {
  using world = await makeLate();
  const { firstSequence, lastSequence } = world.server.describe(1);
  resync(world, "first");
  await world.rest();
  const [move] = recordOf(world).moves;
  assert.equal(move?.cursor, firstSequence - 1);
  assert.equal(recordOf(world).all, null);
  const missed = lastSequence - firstSequence + 1;
  assert.deepEqual(
    world.rows(2, "SELECT count(*) FROM t WHERE v = 'missed'"),
    [[missed]],
    "every message that was left",
  );
  assert.deepEqual(world.rows(1, "SELECT v FROM t WHERE id = 100"), [["own"]]);
  world.sql(1, "UPDATE t SET v = 'again'");
  await world.converge();
});

Deno.test("from first a stream that is trimmed all the time is tried until a first message has come", async () => {
  using world = await makeLate();
  resync(world, "first");
  for (let i = 0; i < 200; i++) {
    world.sql(1, `UPDATE t SET v = 'busy ${i}' WHERE id = ${1 + i % 20}`);
    await world.time.pass(5);
  }
  await world.rest();
  assert.deepEqual(recordOf(world).moves.map(({ from }) => from), ["first"]);
  assert.equal(world.node(2).stopped.size, 0);
  world.sql(1, "UPDATE t SET v = 'again'");
  await world.converge();
});

Deno.test("from first a stream that was read is read again, own changes included, and heals rows that differ", async () => {
  using world = new Rollout({ nodes: 2, schema: SCHEMA, shards: 2 });
  await world.rest();
  world.sql(1, "INSERT INTO t VALUES (1, 'of 1'), (2, 'of 1')");
  await world.rest();
  world.sql(2, "INSERT INTO t VALUES (3, 'of 2'); UPDATE t SET v = 'of 2' WHERE id = 1");
  await world.rest();
  const content = world.rows(1, VALUES);
  // Rows that differ without a change on record, as after a mistake of the operator's.
  const ruin = "DELETE FROM t; DELETE FROM __marmot__change_log WHERE kind = 0";
  world.sql(2, `BEGIN; ${ruin}; COMMIT`);
  await world.time.pass(1000);
  assert.deepEqual([world.rows(1, VALUES), world.rows(2, VALUES)], [content, []]);
  resync(world, "first");
  await world.time.pass(1000);
  await world.converge();
  assert.deepEqual(world.rows(1, VALUES), content);
});

Deno.test("from now a table that is parked for good goes on, and what waited of it is dropped", async () => {
  using world = new Rollout({ nodes: 2, schema: SCHEMA, shards: 1 });
  await world.rest();
  world.sql(2, "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, v CHECK (v > 0))");
  await world.rest();
  world.sql(1, "INSERT INTO t (id, v) VALUES (1, -1)");
  await world.rest();
  world.sql(1, "INSERT INTO t (id, v) VALUES (2, 2)");
  await world.rest();
  const waiting = Number(world.rows(2, "SELECT count(*) FROM __marmot__parked")[0]?.[0]);
  assert.ok(waiting >= 2, `${waiting} wait`);
  world.sql(2, "INSERT INTO __marmot__resync VALUES ('t', 'stream-1', 1, 7, 0)");
  resync(world, "now");
  await world.rest();
  assert.deepEqual(recordOf(world).moves.map(({ dropped }) => dropped), [waiting]);
  for (const table of ["parked", "resync"]) {
    assert.deepEqual(world.rows(2, `SELECT count(*) FROM __marmot__${table}`), [[0]], table);
  }
  world.sql(1, "INSERT INTO t (id, v) VALUES (3, 3)");
  await world.rest();
  assert.deepEqual(world.rows(2, "SELECT id, v FROM t"), [[3, 3]], "later events are applied");
});

Deno.test("only the streams that are named move, and a number that no stream has is said", async () => {
  using world = new Rollout({ nodes: 2, schema: SCHEMA, shards: 2 });
  await world.rest();
  resync(world, "now", [2, 7]);
  await world.rest();
  const { moves, refused, shards } = recordOf(world);
  assert.deepEqual([moves.map(({ stream }) => stream), refused, shards], [["stream-2"], [7], {}]);
});

Deno.test("a message of a newer Marmot is passed over from now only, and its stream goes on", async () => {
  using world = new Rollout({ nodes: 2, schema: SCHEMA, shards: 1 });
  await world.rest();
  world.server.store({ shard: 1, table: "t", format: "batch/9", payload: new Uint8Array(3) });
  await world.time.pass(1000);
  assert.ok(world.node(2).stopped.has(STREAM));
  const before = cursorOf(world);
  world.node(2).stopped.clear();
  resync(world, "first");
  await world.time.pass(1000);
  assert.ok(world.node(2).stopped.has(STREAM), "it stops there again, and says so again");
  assert.equal(cursorOf(world), before);
  assert.equal(recordOf(world).moves[0]?.from, "first");
  resync(world, "now");
  await world.time.pass(1000);
  assert.equal(cursorOf(world), world.server.lastSequence(1));
  world.sql(2, "INSERT INTO t VALUES (1, 'goes on')");
  await world.time.pass(1000);
  assert.equal(world.server.log(1).length, 2, "it publishes");
  assert.equal(cursorOf(world), world.server.lastSequence(1), "and reads");
});
