/** Automatic saves on virtual time: several savers, one lease, and what happens when one of them dies or fails. */
import assert from "node:assert/strict";
import { AutomaticSaves } from "../../src/node/snapshot/automatic_saves.ts";
import { MAX_HOLD_MS, SnapshotGate } from "../../src/node/snapshot/snapshot_gate.ts";
import { silentLog } from "../../src/observability/log.ts";
import { KEPT_SNAPSHOTS, type Manifest, type SnapshotEntry } from "../../src/snapshot/manifest.ts";
import { MarmotError } from "../../src/errors.ts";
import { Random } from "../simulation/random.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";

const LEASE_MS = 15_000;
const STREAM = "changes-1";

/** One broker, one store, any number of savers. */
class World {
  readonly time = new VirtualTime();
  readonly random = new Random(7);
  manifest: Manifest = { snapshots: [] };
  lastSequence = 0;
  /** When the stream was made. */
  createdAt = "then";
  saves: string[] = [];
  atWork = 0;
  mostAtWork = 0;
  #lease: { revision: number; atMs: number } | undefined;
  #revision = 0;
  saveMs = 3_000;
  failure: Error | undefined;

  readonly leases = {
    leaseMs: () => Promise.resolve(LEASE_MS),
    putLease: (_name: string, _holder: string, revision: number | undefined) => {
      if (this.#lease && this.time.nowMs - this.#lease.atMs >= LEASE_MS) this.#lease = undefined;
      if (this.#lease?.revision !== revision) return Promise.resolve(undefined);
      this.#lease = { revision: ++this.#revision, atMs: this.time.nowMs };
      return Promise.resolve(this.#lease.revision);
    },
    releaseLease: (_name: string, revision: number) => {
      if (this.#lease?.revision === revision) this.#lease = undefined;
      return Promise.resolve();
    },
  };

  saver(
    name: string,
    options: { life?: Life; canSave?: () => boolean } = {},
  ): { stop: () => void; gate: SnapshotGate } {
    const { life = new Life(this.time), canSave = () => true } = options;
    const gate = new SnapshotGate({ log: silentLog, clock: life });
    const saves = new AutomaticSaves({
      holder: name,
      maxLogEntries: 1000,
      streamNames: [STREAM],
      streamStates: () =>
        Promise.resolve(
          new Map([[STREAM, {
            name: STREAM,
            createdAt: this.createdAt,
            firstSequence: 1,
            lastSequence: this.lastSequence,
            maxMessages: 1000,
          }]]),
        ),
      readManifest: () => Promise.resolve(this.manifest),
      save: (signal) => this.#save(name, { life, signal }),
      canSave,
      leases: this.leases,
      gate,
      clock: life,
      random: this.random.next,
      log: silentLog,
    });
    const stop = new AbortController();
    void saves.run(stop.signal);
    return { stop: () => stop.abort(), gate };
  }

  async #save(name: string, { life, signal }: { life: Life; signal: AbortSignal }): Promise<SnapshotEntry> {
    const cursor = this.lastSequence;
    this.mostAtWork = Math.max(this.mostAtWork, ++this.atWork);
    await life.sleep(this.saveMs, signal);
    this.atWork--;
    if (this.failure) throw this.failure;
    const headers = {
      "marmot-streams": JSON.stringify([[STREAM, this.createdAt, cursor, ""]]),
      "marmot-state-version": "1",
    };
    const object = `${name}-${this.saves.length}`;
    const entry = { object, createdAtMs: this.time.nowMs, headers } as unknown as SnapshotEntry;
    this.manifest = { snapshots: [entry, ...this.manifest.snapshots] };
    this.saves.push(name);
    return entry;
  }
}

Deno.test("of three nodes one saves the first snapshot, and one each time the streams have gone on", async () => {
  const world = new World();
  for (const name of ["a", "b", "c"]) world.saver(name);
  await world.time.pass(30_000);
  assert.equal(world.saves.length, 1);
  world.lastSequence = 499;
  await world.time.pass(100_000);
  assert.equal(world.saves.length, 1, "neither a multiple of 1000 nor half way");
  world.lastSequence = 500;
  await world.time.pass(20_000);
  assert.equal(world.saves.length, 2);
  world.lastSequence = 999;
  await world.time.pass(100_000);
  assert.equal(world.saves.length, 2);
  world.lastSequence = 1000;
  await world.time.pass(100_000);
  assert.equal(world.saves.length, 3);
  assert.equal(world.mostAtWork, 1);
});

Deno.test("a node that dies while it saves does not block the others", async () => {
  const world = new World();
  world.saveMs = 60_000;
  const life = new Life(world.time);
  world.saver("dies", { life });
  await world.time.pass(10_000);
  assert.equal(world.atWork, 1);
  life.isOver = true;
  world.saver("lives");
  await world.time.pass(4_000);
  assert.equal(world.atWork, 1, "the lease still holds");
  await world.time.pass(100_000);
  assert.deepEqual(world.saves, ["lives"]);
});

Deno.test("a save that takes longer than the lease keeps it", async () => {
  const world = new World();
  world.saveMs = 10 * LEASE_MS;
  world.saver("a");
  world.saver("b");
  await world.time.pass(11 * LEASE_MS + 10_000);
  assert.equal(world.saves.length, 1);
  assert.equal(world.mostAtWork, 1);
});

Deno.test("a save that fails is tried again, ever more seldom, and a node that is not up to date does not save", async () => {
  const world = new World();
  world.failure = new MarmotError("snapshot", "Cannot save");
  world.saveMs = 1;
  let tries = 0;
  let isUpToDate = false;
  world.saver("a", { canSave: () => isUpToDate && ++tries > 0 });
  await world.time.pass(60_000);
  assert.equal(world.mostAtWork, 0);
  isUpToDate = true;
  await world.time.pass(600_000);
  assert.ok(tries >= 5 && tries <= 20, String(tries));
  world.failure = undefined;
  await world.time.pass(130_000);
  assert.equal(world.saves.length, 1);
});

Deno.test("after the stream was made anew a snapshot of it is saved soon, for nodes without a database", async () => {
  const world = new World();
  world.lastSequence = 100;
  world.saver("a");
  await world.time.pass(100_000);
  assert.equal(world.saves.length, 1);
  [world.createdAt, world.lastSequence] = ["later", 0];
  await world.time.pass(100_000);
  assert.equal(world.saves.length, 1, "such a node still takes the one that is there");
  world.lastSequence = 1;
  await world.time.pass(10_000);
  assert.equal(world.saves.length, 2);
  await world.time.pass(600_000);
  assert.equal(world.saves.length, 2);
});

Deno.test("clusters that share a store by mistake do not save against each other all the time", async () => {
  const worlds = ["one", "two", "three"].map((createdAt) => Object.assign(new World(), { createdAt }));
  let manifest: Manifest = { snapshots: [] };
  for (const world of worlds) {
    Object.defineProperty(world, "manifest", {
      get: () => manifest,
      set: ({ snapshots }: Manifest) => manifest = { snapshots: snapshots.slice(0, KEPT_SNAPSHOTS) },
    });
    world.lastSequence = 10;
    world.saver(world.createdAt);
  }
  const minutes = 10;
  for (let second = 0; second < minutes * 60; second++) {
    for (const world of worlds) await world.time.pass(1000);
  }
  const count = worlds.reduce((sum, { saves }) => sum + saves.length, 0);
  assert.ok(count >= 3 && count <= 3 * (minutes + 1), String(count));
});

Deno.test("publishing waits for a snapshot before the stream drops what none covers, and not for ever", async () => {
  const world = new World();
  const { gate } = world.saver("a");
  const isHeld = () => gate.isHeld(STREAM, { cursor: world.lastSequence, maxMessages: 1000 });
  world.lastSequence = 2000;
  assert.ok(!isHeld(), "nothing is known yet");
  await world.time.pass(10_000);
  assert.equal(world.saves.length, 1);
  assert.ok(!isHeld());
  world.lastSequence = 2899;
  assert.ok(!isHeld());
  world.lastSequence = 2900;
  assert.ok(isHeld());
  gate.isOpen = true;
  assert.ok(!isHeld(), "what is pending in the copy must go first");
  gate.isOpen = false;
  assert.ok(isHeld());
  // The hold itself asks for the save.
  await world.time.pass(8_000);
  assert.equal(world.saves.length, 2);
  assert.ok(!isHeld());
  world.failure = new MarmotError("snapshot", "Cannot save");
  world.lastSequence = 3900;
  assert.ok(isHeld());
  await world.time.pass(MAX_HOLD_MS - 1);
  assert.ok(isHeld());
  await world.time.pass(1);
  assert.ok(!isHeld());
  await world.time.pass(60_000);
  assert.ok(!isHeld(), "not again before a snapshot is there");
  world.failure = undefined;
  await world.time.pass(200_000);
  assert.equal(world.saves.length, 3);
  world.lastSequence = 4800;
  assert.ok(isHeld());
});

Deno.test("publishing does not wait for a snapshot that takes too long", async () => {
  const world = new World();
  world.saveMs = MAX_HOLD_MS + 1;
  const { gate } = world.saver("a");
  await world.time.pass(30_000);
  assert.equal(world.saves.length, 1);
  assert.ok(!gate.isHeld(STREAM, { cursor: 950, maxMessages: 1000 }));
});

Deno.test("a stream without a limit holds nothing", () => {
  const gate = new SnapshotGate({ log: silentLog, clock: new Life(new VirtualTime()) });
  gate.setCovered(new Map());
  assert.ok(!gate.isHeld(STREAM, { cursor: 1e9, maxMessages: Infinity }));
});
