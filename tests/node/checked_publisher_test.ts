/** What a node does with changes that were captured before it ran, when publishing them does not go well. */
import assert from "node:assert/strict";
import { decodeEnvelope } from "../../src/wire/batch_codec.ts";
import { HEALTHY } from "../simulation/memory_server.ts";
import { PendingWorld } from "./pending_world.ts";

Deno.test("a node that ends with a message sent that is never stored sends its changes again, under a new run, where nothing came before", async () => {
  using world = new PendingWorld();
  world.server.network = { ...HEALTHY, lost: 1 };
  world.start();
  await world.time.pass(100);
  const [lost] = world.streams.sent;
  assert.ok(lost);
  assert.deepEqual([world.streams.sent.length, world.published, world.pending], [1, 0, 1]);
  world.crash();
  world.server.network = HEALTHY;
  world.start();
  await world.time.pass(1_000);
  assert.deepEqual([world.published, world.pending], [1, 0]);
  const [again, ...others] = world.streams.sent;
  assert.ok(again && others.length === 0);
  assert.equal(again.expectedLastSubjectSequence, 0);
  const [before, after] = [lost, again].map(({ payload }) => decodeEnvelope(payload));
  assert.ok(before && after && after.run > before.run, `run ${before?.run}, then ${after?.run}`);
  assert.deepEqual([after.top, after.body], [before.top, before.body]);
});

Deno.test("a node that others are faster than a hundred times gets its changes through within two seconds", async () => {
  using world = new PendingWorld();
  world.streams.failure = "refused";
  world.streams.failures = 100;
  world.start();
  await world.time.pass(2_000);
  assert.equal(world.streams.failures, 0);
  assert.deepEqual([world.published, world.pending, world.warnings], [1, 0, 0]);
  // What comes now goes without a condition.
  world.insert(2);
  await world.time.pass(100);
  assert.deepEqual([world.published, world.pending], [2, 0]);
});

Deno.test("that publishing fails is said once, also by a node that has not published yet, and again the next time", async () => {
  using world = new PendingWorld();
  world.streams.failures = 4;
  world.start();
  await world.time.pass(3_000);
  assert.deepEqual([world.streams.failures, world.published, world.warnings], [0, 1, 1]);
  world.streams.failures = 2;
  world.insert(2);
  await world.time.pass(3_000);
  assert.deepEqual([world.streams.failures, world.published, world.warnings], [0, 2, 2]);
});

Deno.test("what a shard checked before it had to drain does not end the check that begins after it", async () => {
  using world = new PendingWorld();
  const { streams } = world;
  streams.holdsAnswers = true;
  world.start();
  await world.time.pass(100);
  assert.equal(streams.held.length, 1);
  world.insert(2);
  streams.interrupt();
  await world.time.pass(1_000);
  assert.equal(streams.held.length, 2);
  // The answer to the first check comes late: the second has still to see that nobody has written to the table.
  streams.held[0]?.();
  await world.time.pass(1_000);
  streams.holdsAnswers = false;
  for (const letGo of streams.held) letGo();
  await world.time.pass(1_000);
  assert.deepEqual([world.published, world.pending], [1, 0]);
  assert.deepEqual(streams.sent.map(({ expectedLastSubjectSequence }) => expectedLastSubjectSequence), [0]);
});
