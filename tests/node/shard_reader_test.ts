/** What a reader makes of a stream that loses its end while the reader looks at it. */
import assert from "node:assert/strict";
import { PendingWorld } from "./pending_world.ts";

Deno.test("a stream that loses its end between two questions is not taken for one that was trimmed", async () => {
  using world = new PendingWorld();
  world.start();
  await world.time.pass(1_000);
  assert.deepEqual([world.published, world.pending], [1, 0]);
  const { streams, server } = world;
  streams.isStalled = true;
  world.insert(2);
  await world.time.pass(1_000);
  assert.deepEqual([world.published, world.pending], [2, 1]);
  // The state of the stream was told before: that 2 is its last message.
  streams.onLookUp = (sequence) => {
    if (sequence !== 2) return;
    server.rollBack(1, 1);
    streams.onLookUp = () => {};
  };
  streams.isStalled = false;
  streams.interrupt();
  await world.time.pass(10_000);
  assert.deepEqual([world.published, world.pending], [2, 0]);
  assert.deepEqual(world.log.lines.filter(({ level }) => level === "error"), []);
});

Deno.test("a snapshot that is asked for and not there stops no stream, also where the database is locked then", async () => {
  using world = new PendingWorld();
  world.application.exec(`INSERT INTO __marmot__meta VALUES ('merge_wish', '["stream-1"]')`);
  world.start({ snapshots: { list: () => Promise.resolve([]) } });
  await world.time.pass(100);
  world.application.exec("BEGIN IMMEDIATE");
  await world.time.pass(1_000);
  world.application.exec("COMMIT");
  await world.time.pass(10_000);
  assert.equal(world.failure, undefined);
  assert.deepEqual([world.published, world.pending], [1, 0]);
  assert.deepEqual(
    world.log.lines.filter(({ level }) => level === "error").map(({ event }) => event),
    ["no snapshot can be taken over as was asked for, the stream goes on"],
  );
});
