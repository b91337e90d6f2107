import assert from "node:assert/strict";
import { type CommitHints, CommitLooks } from "../../src/node/commit_looks.ts";
import type { Clock } from "../../src/runtime/clock.ts";

const never = new AbortController().signal;

/** Time that passes only where somebody sleeps, and hints that come when they are told to. */
class World implements Clock, CommitHints {
  now = 1000;
  canOpen = true;
  isOpen = false;
  /** When hints come, earliest first. */
  hintsAtMs: number[] = [];

  nowMs = () => this.now;
  turn = () => Promise.resolve();

  sleep(ms: number): Promise<void> {
    this.now += ms;
    return Promise.resolve();
  }

  open(): boolean {
    return this.isOpen = this.canOpen;
  }

  wait(milliseconds: number): Promise<boolean> {
    const [next = Infinity] = this.hintsAtMs;
    const isHinted = next <= this.now + milliseconds;
    if (isHinted) this.hintsAtMs.shift();
    this.now = isHinted ? Math.max(this.now, next) : this.now + milliseconds;
    return Promise.resolve(isHinted);
  }

  close(): void {
    this.isOpen = false;
  }
}

/** Milliseconds until the next look. */
async function pause(looks: CommitLooks, world: World, hasNew: boolean): Promise<number> {
  const before = world.now;
  await looks.next(hasNew, never);
  return world.now - before;
}

Deno.test("without hints an idle node looks every 10 ms, and every 2 ms for a second after a commit", async () => {
  const world = new World();
  const looks = new CommitLooks(world);
  assert.equal(await pause(looks, world, false), 10);
  assert.equal(await pause(looks, world, true), 2);
  const until = world.now + 990;
  while (world.now < until) assert.equal(await pause(looks, world, false), 2);
  world.now += 10;
  assert.equal(await pause(looks, world, false), 10);
});

/** Looks until the pauses are the longest. */
async function settle(looks: CommitLooks, world: World): Promise<void> {
  while (await pause(looks, world, false) < 500);
}

Deno.test("with hints an idle node looks every 500 ms, and at once when a hint comes", async () => {
  const world = new World();
  const looks = new CommitLooks(world, { hints: world });
  assert.equal(await pause(looks, world, false), 10);
  await settle(looks, world);
  assert.equal(await pause(looks, world, false), 500);
  world.hintsAtMs = [world.now + 7];
  assert.equal(await pause(looks, world, false), 7);
});

Deno.test("after a hint and after a commit it looks soon again, and then more and more seldom", async () => {
  const world = new World();
  const looks = new CommitLooks(world, { hints: world });
  await settle(looks, world);
  world.hintsAtMs = [world.now + 7];
  assert.equal(await pause(looks, world, false), 7);
  for (const expected of [1, 2, 4, 8, 16, 32, 64, 128, 256, 500, 500]) {
    assert.equal(await pause(looks, world, false), expected);
  }
  for (const expected of [1, 2, 4]) assert.equal(await pause(looks, world, expected === 1), expected);
});

Deno.test("many hints at a time end the listening until no commit comes for a second", async () => {
  const world = new World();
  const looks = new CommitLooks(world, { hints: world });
  await looks.next(false, never);
  world.hintsAtMs = Array.from({ length: 150 }, (_, i) => world.now + i / 2);
  for (let i = 0; i < 100; i++) assert.ok(await pause(looks, world, true) <= 1);
  assert.equal(world.isOpen, false);
  assert.equal(await pause(looks, world, true), 2);
  world.hintsAtMs = [];
  for (let i = 0; i < 499; i++) assert.equal(await pause(looks, world, false), 2);
  world.now += 2;
  // What came before it listened again is found.
  assert.equal(await pause(looks, world, false), 10);
  await settle(looks, world);
  assert.equal(world.isOpen, true);
});

Deno.test("hints that come now and then do not end the listening", async () => {
  const world = new World();
  const looks = new CommitLooks(world, { hints: world });
  await looks.next(false, never);
  world.hintsAtMs = Array.from({ length: 200 }, (_, i) => world.now + 10 * i);
  while (world.hintsAtMs.length > 0) await pause(looks, world, true);
  assert.equal(world.isOpen, true);
});

Deno.test("where commits come without hints, the node looks as if there were none", async () => {
  const world = new World();
  const looks = new CommitLooks(world, { hints: world });
  for (let i = 0; i < 3; i++) {
    await settle(looks, world);
    assert.equal(await pause(looks, world, true), i < 2 ? 1 : 2);
  }
  assert.equal(world.isOpen, false);
});

Deno.test("a hint that comes after the look that found its commit is not missed", async () => {
  const world = new World();
  const looks = new CommitLooks(world, { hints: world });
  for (let i = 0; i < 10; i++) {
    await settle(looks, world);
    world.hintsAtMs = [world.now];
    assert.equal(await pause(looks, world, true), 0);
  }
  assert.equal(world.isOpen, true);
});

Deno.test("where hints can't be had now, commits are looked for more often", async () => {
  const world = new World();
  world.canOpen = false;
  const looks = new CommitLooks(world, { hints: world });
  assert.equal(await pause(looks, world, false), 10);
  assert.equal(await pause(looks, world, true), 2);
  world.now += 1000;
  world.canOpen = true;
  assert.equal(await pause(looks, world, false), 10);
  await settle(looks, world);
});
