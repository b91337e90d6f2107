import assert from "node:assert/strict";
import { LockWatch } from "../../src/node/lock_watch.ts";
import { RecordedLog } from "../stream/server_world.ts";

const HELD = "an application holds the database's write lock, remote changes wait for it";
const FREE = "the database's write lock is free again, remote changes are applied";

class World {
  readonly log = new RecordedLog();
  nowMs = 1_000;
  readonly watch = new LockWatch({
    clock: { nowMs: () => this.nowMs, sleep: () => Promise.resolve(), turn: () => Promise.resolve() },
    log: this.log,
  });

  busyFor(milliseconds: number): void {
    for (const end = this.nowMs + milliseconds; this.nowMs < end; this.nowMs += 8) this.watch.noteBusy();
  }
}

Deno.test("a write lock that is held for long is said once, and so is its end", () => {
  const world = new World();
  world.busyFor(12_000);
  world.watch.noteFree();
  world.watch.noteFree();
  assert.deepEqual(world.log.lines, [
    { level: "warn", event: HELD, fields: { seconds: 5 } },
    { level: "info", event: FREE, fields: { seconds: 12 } },
  ]);
});

Deno.test("write locks that are held for short are not said, however many there are", () => {
  const world = new World();
  for (let i = 0; i < 20; i++) {
    world.busyFor(4_000);
    world.watch.noteFree();
  }
  assert.deepEqual(world.log.lines, []);
});
