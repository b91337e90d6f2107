import assert from "node:assert/strict";
import { WriteWatch } from "../../src/node/write_watch.ts";

/** A watch over an application whose clock and changes the test moves. */
function watched(seen?: number) {
  const world = { now: 1000, captured: 0 };
  const clock = { nowMs: () => world.now, turn: () => Promise.resolve(), sleep: () => Promise.resolve() };
  const watch = new WriteWatch(clock, () => world.captured, seen);
  return { world, watch };
}

Deno.test("an application counts as writing for half a second after a change", () => {
  const { world, watch } = watched(0);
  assert.equal(watch.isWriting(), false);
  world.captured++;
  assert.equal(watch.isWriting(), true);
  world.now += 499;
  assert.equal(watch.isWriting(), true);
  world.now++;
  assert.equal(watch.isWriting(), false);
});

Deno.test("what was captured before counts as just written, unless it was seen", () => {
  assert.equal(watched().watch.isWriting(), true);
  assert.equal(watched(0).watch.isWriting(), false);
});

Deno.test("20 changes in a tenth of a second are writing without a pause, as soon as they are there", () => {
  const { world, watch } = watched();
  world.now += 10;
  world.captured += 19;
  assert.equal(watch.load(), "light");
  world.captured++;
  assert.equal(watch.load(), "busy");
});

Deno.test("changes now and then are not, however long it goes on", () => {
  const { world, watch } = watched();
  for (let i = 0; i < 500; i++) {
    world.now += 10;
    world.captured++;
    assert.equal(watch.load(), "light");
  }
});

Deno.test("writing without a pause is over when no change has come for a while, however seldom that is asked", () => {
  for (const stepMs of [10, 1000]) {
    const { world, watch } = watched();
    for (let i = 0; i < 50; i++) {
      world.now += 10;
      world.captured += 5;
      watch.load();
    }
    assert.equal(watch.load(), "busy");
    for (let passedMs = 0; passedMs < 210; passedMs += stepMs) {
      world.now += stepMs;
      watch.load();
    }
    assert.equal(watch.load(), "light");
  }
});

Deno.test("2,000 changes a second are all that an application can, once that was measured", () => {
  const { world, watch } = watched();
  const passed = (ms: number, changes: number) => {
    world.now += ms;
    world.captured += changes;
    return watch.load();
  };
  assert.equal(passed(50, 1000), "busy");
  assert.equal(passed(50, 0), "flat out");
  assert.equal(passed(100, 199), "busy");
  assert.equal(passed(1000, 2000), "flat out");
  assert.equal(passed(100, 0), "light");
});
