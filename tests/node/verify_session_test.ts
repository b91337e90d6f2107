/** What a node does for one verify: how long it stands still, what it looks at, and when it gives up. */
import assert from "node:assert/strict";
import { beginPause, endPause } from "../../src/db/capture/pause.ts";
import { Connection } from "../../src/db/connection.ts";
import type { SnapshotDescription } from "../../src/db/verify/database_snapshot.ts";
import { decodeAnswer, type Question } from "../../src/node/verify/verify_protocol.ts";
import { VerifyWorld } from "./verify_world.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const HOLD: Question = { kind: "hold", session: "s" };
const END: Question = { kind: "end", session: "s" };
const DIGEST: Question = { kind: "digest", session: "s", table: "t", columns: ["id", "v"] };

type Cursors = [string, number][];

Deno.test("a node that is held applies nothing, then goes on to the target and not past it", async () => {
  using world = new VerifyWorld({ schema: SCHEMA });
  await world.time.pass(1000);
  const [[stream, before]] = await world.value<[[string, number]]>(2, HOLD);
  for (let id = 1; id <= 3; id++) {
    world.at(1).application.exec(`INSERT INTO t VALUES (${id}, 'x')`);
    await world.time.pass(100);
  }
  assert.equal(world.server.log(1).length, 3);
  assert.equal(world.count(2), 0, "applied while held");
  const target: Cursors = [[stream, before + 2]];
  const { cursors } = await world.value<SnapshotDescription>(2, { kind: "snapshot", session: "s", target });
  assert.deepEqual(cursors, target);
  await world.time.pass(100);
  assert.equal(world.count(2), 3, "did not go on after its snapshot");
  assert.equal((await world.value<{ rows: number }>(2, DIGEST)).rows, 2);
  await world.value(2, END);
  assert.match(await world.failure(2, DIGEST), /given up this comparison/);
});

Deno.test("a node that is never told where to go on goes on by itself", async () => {
  using world = new VerifyWorld({ schema: SCHEMA });
  await world.time.pass(1000);
  const target = await world.value<Cursors>(2, HOLD);
  world.at(1).application.exec("INSERT INTO t VALUES (1, 'x')");
  await world.time.pass(2000);
  assert.equal(world.count(2), 0);
  await world.time.pass(1500);
  assert.equal(world.count(2), 1);
  assert.match(await world.failure(2, { kind: "snapshot", session: "s", target }), /asked too late/);
});

Deno.test("a node that does not reach the target says how far it is behind, and goes on", async () => {
  using world = new VerifyWorld({ schema: SCHEMA });
  await world.time.pass(1000);
  const [[stream]] = await world.value<[[string, number]]>(2, HOLD);
  const failure = await world.failure(2, { kind: "snapshot", session: "s", target: [[stream, 5]] });
  assert.match(failure, /^it is 5 messages behind/);
  world.at(1).application.exec("INSERT INTO t VALUES (1, 'x')");
  await world.time.pass(200);
  assert.equal(world.count(2), 1);
});

Deno.test("a paused node is not compared: what it has not captured would pass for a difference", async () => {
  using world = new VerifyWorld({ schema: SCHEMA });
  await world.time.pass(1000);
  const connection = new Connection(world.at(2).replica.connection.path);
  beginPause(connection, 1);
  connection.exec("INSERT INTO t VALUES (1, 'not captured')");
  assert.equal(
    await world.failure(2, HOLD),
    "it is paused for a migration: end that with marmot pause -end first",
  );
  endPause(connection);
  connection.close();
  await world.time.pass(1000);
  await world.value(2, END);
  await world.value(2, HOLD);
  assert.equal(world.count(1), 1);
});

Deno.test("a node gives up its snapshot when its asker is gone, and is free for the next", async () => {
  using world = new VerifyWorld({ schema: SCHEMA });
  await world.time.pass(1000);
  const target = await world.value<Cursors>(1, HOLD);
  await world.value(1, { kind: "snapshot", session: "s", target });
  assert.match(await world.failure(1, { kind: "hold", session: "other" }), /another marmot verify/);
  // With a snapshot open the WAL cannot be emptied.
  const truncate = () => world.at(1).application.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.["busy"];
  world.at(1).application.exec("INSERT INTO t VALUES (1, 'x')");
  assert.equal(truncate(), 1);
  await world.time.pass(11_000);
  assert.equal(truncate(), 0);
  await world.value(1, { kind: "hold", session: "other" });
});

Deno.test("with several shards a node stands at all sequences at once", async () => {
  using world = new VerifyWorld({ schema: SCHEMA, shards: 3 });
  for (const { application } of world.nodes) {
    application.exec("CREATE TABLE u (id INTEGER PRIMARY KEY); CREATE TABLE w (id INTEGER PRIMARY KEY)");
  }
  await world.time.pass(1000);
  for (const table of ["t", "u", "w"]) world.at(1).application.exec(`INSERT INTO ${table} (id) VALUES (1)`);
  await world.time.pass(500);
  const target = await world.value<Cursors>(2, HOLD);
  assert.equal(target.reduce((sum, [, sequence]) => sum + sequence, 0), 3);
  for (const table of ["t", "u", "w"]) world.at(1).application.exec(`INSERT INTO ${table} (id) VALUES (2)`);
  await world.time.pass(500);
  const { cursors } = await world.value<SnapshotDescription>(2, { kind: "snapshot", session: "s", target });
  const reached = new Map<string, number>(cursors);
  for (const [stream, sequence] of target) assert.equal(reached.get(stream) ?? 0, sequence, stream);
  for (const table of ["t", "u", "w"]) {
    const question: Question = { kind: "digest", session: "s", table, columns: ["id"] };
    assert.equal((await world.value<{ rows: number }>(2, question)).rows, 1, table);
  }
});

Deno.test("a question that is none is answered with a sentence", async () => {
  using world = new VerifyWorld({ schema: SCHEMA });
  const { service } = world.at(1);
  const questions = [
    "",
    "null",
    "[]",
    "{}",
    '{"kind":"digest"}',
    '{"kind":"snapshot","session":"s","target":[["a"]]}',
    "\u0000",
  ];
  for (const question of [...questions, `{"kind":"hold","session":""}`]) {
    const answer = decodeAnswer(await service.answer(new TextEncoder().encode(question)));
    assert.equal(answer.state, "failed", question);
  }
  assert.match(await world.failure(1, DIGEST), /given up this comparison/);
});
