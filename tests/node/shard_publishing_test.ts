/** The invariants of publishing on one shard. */
import assert from "node:assert/strict";
import { ShardPublishing } from "../../src/node/shard_publishing.ts";

Deno.test("a shard begins with nothing to be sent", () => {
  const state = new ShardPublishing(3, 16);
  assert.equal(state.phase, "draining");
  assert.equal(state.readTo, Infinity);
});

Deno.test("numbers ascend, whatever fails", () => {
  const state = new ShardPublishing(1, 16);
  assert.equal(state.nextNumber(), 1);
  state.drain(5);
  state.beginReading(9, 100);
  assert.equal(state.nextNumber(), 2);
});

Deno.test("what may have been sent stays in doubt over several failures", () => {
  const state = new ShardPublishing(1, 16);
  state.drain(20);
  state.beginReading(9, 100);
  // It fails again before all of it was sent.
  state.drain(12);
  assert.equal(state.checkedTo, 20);
  state.drain(31);
  assert.equal(state.checkedTo, 31);
});

Deno.test("after a failure the shard begins again from the first entry, once the stream was read", () => {
  const state = new ShardPublishing(1, 16);
  state.position = 50;
  state.unread.add(1).add(2);
  state.drain(50);
  assert.deepEqual([state.phase, state.readTo], ["draining", Infinity]);
  state.beginReading(123, 1000);
  assert.deepEqual([state.phase, state.readTo, state.position], ["reading", 123, 0]);
  assert.equal(state.unread.size, 0);
});

Deno.test("a publisher stops at half of what the stream keeps, but never for good", () => {
  for (
    const [maxMessages, unread, hasRoom] of [
      [10, 4, true],
      [10, 5, false],
      [11, 5, false],
      [1, 0, true],
      [1, 1, false],
      [Infinity, 100_000, true],
    ] as const
  ) {
    const state = new ShardPublishing(1, 16);
    state.beginReading(0, maxMessages);
    for (let number = 0; number < unread; number++) state.unread.add(number);
    assert.equal(state.hasRoom, hasRoom, `${unread} of ${maxMessages}`);
  }
});
