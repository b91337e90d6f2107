/** Which of a store's snapshots a node takes over that has missed messages, and what it says of the others. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { countPending } from "../../src/db/snapshot/copy_facts.ts";
import { LateMerge } from "../../src/node/snapshot/late_merge.ts";
import { ORIGINAL_NAME } from "../../src/node/snapshot/original_snapshot.ts";
import { savedSnapshots } from "../../src/node/snapshot/saved_snapshots.ts";
import { SnapshotSaver } from "../../src/node/snapshot/snapshot_saver.ts";
import { silentLog } from "../../src/observability/log.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { encodeManifest, MANIFEST_NAME, type SnapshotEntry } from "../../src/snapshot/manifest.ts";
import { readManifest } from "../../src/snapshot/snapshot_catalog.ts";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { FolderStore } from "../../src/snapshot/stores/folder_store.ts";
import { TestReplica, upsert } from "../db/test_replica.ts";
import { doAtOnce } from "../simulation/snapshot_ports.ts";
import { RecordedLog } from "../stream/server_world.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const STREAM = { name: "s", createdAt: "then", lastSequence: 9, maxMessages: 8 };

/** Answers at once, as if it had taken long. */
class SlowStore extends CheckedStore {
  answerMs = 0;
  tookMs = 0;

  override get(...args: Parameters<CheckedStore["get"]>): ReturnType<CheckedStore["get"]> {
    this.tookMs += this.answerMs;
    return super.get(...args);
  }
}

/** A node that saves, one that has missed the stream's first message, and the store between them. */
class World implements AsyncDisposable {
  readonly saver = new TestReplica(SCHEMA);
  readonly late = new TestReplica(SCHEMA);
  readonly log = new RecordedLog();
  readonly folder = join(dirname(this.late.path), "store");
  readonly store = new SlowStore(new FolderStore(this.folder));
  readonly #stop = new AbortController();
  readonly #merge: LateMerge;
  readonly #running: Promise<void>;

  constructor() {
    for (const world of [this.saver, this.late]) world.arm();
    this.#merge = new LateMerge({
      replica: this.late.replica,
      publisher: { wireFormat: "batch", halt: () => Promise.resolve([]) },
      snapshots: savedSnapshots({ store: this.store, dbPath: this.late.path, doJob: doAtOnce }),
      streams: { shards: 1 },
      clock: { ...systemClock, nowMs: () => systemClock.nowMs() + this.store.tookMs },
      random: () => 0.5,
      log: this.log,
      onSchemaChange: () => Promise.resolve(),
    });
    this.#running = this.#merge.run(this.#stop.signal);
  }

  /** Saves a snapshot behind one more message, which sets a row; the newest first, all there are. */
  async saveBehind(id: bigint): Promise<SnapshotEntry[]> {
    this.saver.apply("t", [upsert(id, `row ${id}`)]);
    const { connection } = this.saver.replica;
    const states = new Map([["s", { ...STREAM, firstSequence: 1 }]]);
    await new SnapshotSaver({
      dbPath: this.saver.path,
      store: this.store,
      wireFormat: "batch",
      countPending: (upTo) => countPending(connection, upTo),
      streamStates: () => Promise.resolve(states),
      pendingMs: 1000,
      clock: systemClock,
      log: silentLog,
      doJob: doAtOnce,
    }).save(this.#stop.signal);
    return [...(await readManifest(this.store)).snapshots];
  }

  /** Has the manifest say something else of the newest snapshot than its saver did. */
  async rewriteHeaders(headers: (of: SnapshotEntry) => SnapshotEntry["headers"]): Promise<void> {
    const { snapshots: [newest, ...others] } = await readManifest(this.store);
    assert.ok(newest);
    const manifest = encodeManifest({ snapshots: [{ ...newest, headers: headers(newest) }, ...others] });
    await this.store.put(MANIFEST_NAME, ReadableStream.from([manifest]));
  }

  /** Why the late node cannot be brought up to date, undefined where it was. */
  catchUp(): Promise<string | undefined> {
    return this.#merge.catchUp(1, { ...STREAM, firstSequence: 2 }, this.#stop.signal);
  }

  ids(): unknown[] {
    return this.late.rows("SELECT id FROM t ORDER BY id").flat();
  }

  /** What was said of snapshots that are of no use. */
  warnings(): unknown[] {
    return this.log.lines.filter(({ level }) => level === "warn").map(({ fields }) => fields?.["reason"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    for (const world of [this.saver, this.late]) world[Symbol.dispose]();
  }
}

const UNREADABLE = "its manifest does not tell how far the streams were applied";
const NEWER = "a newer Marmot has saved it: upgrade this node";
const DAMAGED = "its object is not the one that was saved: the sums differ";

const CASES: readonly {
  readonly name: string;
  readonly reason: string;
  readonly spoil: (world: World, newest: SnapshotEntry) => Promise<void> | void;
}[] = [
  {
    name: "has headers that nobody can read",
    reason: UNREADABLE,
    spoil: (world) => world.rewriteHeaders(() => ({})),
  },
  {
    name: "is of a newer Marmot",
    reason: NEWER,
    // A newer release may write its streams in another way.
    spoil: (world) =>
      world.rewriteHeaders(({ headers }) => ({
        ...headers,
        "marmot-state-version": "99",
        "marmot-streams": "in another way",
      })),
  },
  {
    name: "is damaged",
    reason: DAMAGED,
    spoil({ folder }, { object }) {
      const bytes = readFileSync(join(folder, object));
      bytes[bytes.length >> 1]! ^= 1;
      writeFileSync(join(folder, object), bytes);
    },
  },
];

for (const { name, reason, spoil } of CASES) {
  Deno.test(`a late node whose newest snapshot ${name} says so and takes the one before`, async () => {
    await using world = new World();
    await world.saveBehind(1n);
    const [newest] = await world.saveBehind(2n);
    await spoil(world, newest!);
    assert.equal(await world.catchUp(), undefined);
    assert.deepEqual(world.ids(), [1]);
    assert.deepEqual(world.warnings(), [reason]);
    assert.deepEqual((await readdir(dirname(world.late.path))).filter((file) => /\.tmp/.test(file)), []);
  });

  Deno.test(`a late node whose only snapshot ${name} gives that as the reason, and warns of it once`, async () => {
    await using world = new World();
    const [only] = await world.saveBehind(1n);
    await spoil(world, only!);
    for (let round = 0; round < 2; round++) {
      assert.equal(await world.catchUp(), `${only!.object}: ${reason}`);
    }
    assert.deepEqual(world.ids(), []);
    assert.deepEqual(world.warnings(), [reason]);
  });
}

Deno.test("a late node tells of every snapshot why it is of no use", async () => {
  await using world = new World();
  const [before] = await world.saveBehind(1n);
  const [newest] = await world.saveBehind(2n);
  await CASES[1]!.spoil(world, newest!);
  CASES[2]!.spoil(world, before!);
  assert.equal(await world.catchUp(), `${newest!.object}: ${NEWER}; ${before!.object}: ${DAMAGED}`);
});

Deno.test("a late node says of the original's snapshot why it is of no use, and where there is none that", async () => {
  await using world = new World();
  assert.equal(await world.catchUp(), "there is no snapshot");
  await world.store.put(ORIGINAL_NAME, ReadableStream.from([readFileSync(world.saver.path)]));
  assert.equal(
    await world.catchUp(),
    "snapshot.db: it is the original's, which does not tell where it stands in the streams",
  );
});

Deno.test("a late node that waits long for its snapshot tells how far it is", async () => {
  await using world = new World();
  const [{ objectBytes }] = await world.saveBehind(1n) as [SnapshotEntry];
  world.store.answerMs = 6000;
  assert.equal(await world.catchUp(), undefined);
  const said = world.log.lines.filter(({ event }) => event === "fetching the snapshot");
  assert.deepEqual(said.map(({ fields }) => fields), [{ bytes: objectBytes, of: objectBytes }]);
});
