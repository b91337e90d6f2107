import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { readMergeWish } from "../../src/db/state/merge_wish.ts";
import { readResync } from "../../src/db/state/resync_request.ts";
import type { SnapshotEntry } from "../../src/snapshot/manifest.ts";
import { switchToSnapshot } from "../../src/snapshot/snapshot_catalog.ts";
import type { SnapshotStore } from "../../src/snapshot/snapshot_store.ts";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { FolderStore } from "../../src/snapshot/stores/folder_store.ts";
import { TestReplica, upsert } from "../db/test_replica.ts";
import { runCommand } from "../support/command_run.ts";

/** A database that has read one message of stream "s-1"; no node takes up what a command asks for. */
function makeWorld(): TestReplica {
  const world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  world.arm();
  world.replica.apply([{ ...world.message("t", [upsert(1n, 1n)]), stream: "s-1" }], {
    rows: 10,
    milliseconds: 1000,
  });
  return world;
}

Deno.test("marmot resync says what it gives up, asks, and without a node leaves it on record", async () => {
  using world = makeWorld();
  const on = ["resync", "-from", "now", "-db-path", world.path];
  const refused = await runCommand(on, false);
  assert.deepEqual([refused.code, refused.questions], [0, ["Resync from now?"]]);
  assert.match(
    refused.output,
    /^s-1: read up to 1\nThe streams go on from their end\. Given up: [^]*\nNothing was done\.\n$/,
  );
  assert.equal(world.replica.recovery.isResyncWanted, false);
  const { code, output } = await runCommand(on, true);
  assert.equal(code, 0);
  assert.match(output, /\nOn record: no node has done it yet\. /);
  assert.equal(readResync(world.replica.connection).all, "now");
});

Deno.test("marmot resync does nothing where nobody can be asked, and -yes is not given", async () => {
  using world = makeWorld();
  const { code, error } = await runCommand(["resync", "-from", "first", "-db-path", world.path]);
  assert.deepEqual([code, error], [
    1,
    `marmot: Cannot resync "${world.path}": nobody is here to be asked\n-yes does it without asking.\n`,
  ]);
  assert.equal(world.replica.recovery.isResyncWanted, false);
});

for (
  const { flags, error } of [
    {
      flags: [],
      error: /^marmot: Cannot resync: -from is missing\n-from snapshot: .*\n-from first: .*\n-from now: /,
    },
    {
      flags: ["-from", "last"],
      error: /^marmot: Cannot use -from "last": it must be snapshot, first or now\n/,
    },
    {
      flags: ["-from", "now", "-stream", "0"],
      error: /^marmot: Cannot use -stream "0": streams have numbers from 1 to 1024\n/,
    },
    {
      flags: ["-from", "now", "-stream", "1,,2"],
      error: /^marmot: Cannot use -stream "1,,2": a stream's name or number is missing\n/,
    },
    {
      flags: ["-from", "now", "-stream", "s-9"],
      error: /^marmot: Cannot resync stream "s-9": it was never read here\nStreams that were: s-1\. /,
    },
  ]
) {
  Deno.test(`marmot resync ${flags.join(" ")} is one sentence`, async () => {
    using world = makeWorld();
    const run = await runCommand(["resync", ...flags, "-yes", "-db-path", world.path]);
    assert.equal(run.code, 2);
    assert.match(run.error, error);
    assert.equal(world.replica.recovery.isResyncWanted, false);
  });
}

Deno.test("marmot resync tells what a node has done, and which streams it does not have", async () => {
  using world = makeWorld();
  const position = { name: "s-1", createdAt: "then", cursor: 7, storedAt: "" };
  const done = runCommand([
    "resync",
    "-from",
    "now",
    "-stream",
    "s-1",
    "-yes",
    "-json",
    "-db-path",
    world.path,
  ]);
  // The command has put it on record before it first waits.
  assert.deepEqual(world.replica.recovery.takeUpResync(1), { shards: [1], refused: [] });
  world.replica.recovery.moveStream(1, { from: "now", position, hasMore: false });
  const move = { stream: "s-1", from: "now", before: 1, cursor: 7, dropped: 0 };
  assert.deepEqual(JSON.parse((await done).output), {
    isOnRecord: true,
    isDone: true,
    from: "now",
    moves: [move],
  });
  const refused = runCommand(["resync", "-from", "now", "-stream", "5", "-yes", "-db-path", world.path]);
  assert.deepEqual(world.replica.recovery.takeUpResync(1), { shards: [], refused: [5] });
  assert.deepEqual([(await refused).code, (await refused).error], [
    1,
    "marmot: Cannot resync stream 5: the node has fewer streams\n",
  ]);
});

Deno.test("marmot resync from a snapshot that is not there asks for nothing", async () => {
  using world = makeWorld();
  const url = pathToFileURL(join(world.path, "..", "store")).href;
  const run = await runCommand([
    "resync",
    "-from",
    "snapshot",
    "-snapshot-url",
    url,
    "-yes",
    "-db-path",
    world.path,
  ]);
  assert.equal(run.code, 1);
  assert.match(run.error, /^marmot: Cannot resync from a snapshot: there is none in file:/);
  assert.deepEqual(readMergeWish(world.replica.connection), []);
});

for (
  const { what, put, error } of [
    {
      what: "the original's snapshot",
      put: (store: SnapshotStore, world: TestReplica) => store.put("snapshot.db", contentOf(world.path)),
      error:
        /^marmot: Cannot take over snapshot "snapshot\.db": it is the original's, which does not tell where/,
    },
    {
      what: "a snapshot that tells nothing of the streams",
      put: (store: SnapshotStore, world: TestReplica) => saveAs(store, world, {}),
      error:
        /^marmot: Cannot take over snapshot "snapshot-1\.db": its manifest does not tell how far the streams/,
    },
    {
      what: "a snapshot of a newer Marmot",
      put: (store: SnapshotStore, world: TestReplica) =>
        saveAs(store, world, { "marmot-state-version": "99" }),
      error:
        /^marmot: Cannot take over snapshot "snapshot-1\.db": a newer Marmot has saved it: upgrade this node/,
    },
  ]
) {
  Deno.test(`marmot resync from ${what} asks for nothing, and says what to do`, async () => {
    using world = makeWorld();
    const folder = join(world.path, "..", "store");
    await put(new CheckedStore(new FolderStore(folder)), world);
    const url = pathToFileURL(folder).href;
    const flags = ["-from", "snapshot", "-snapshot-url", url, "-stream-prefix", "s", "-yes"];
    const run = await runCommand(["resync", ...flags, "-db-path", world.path]);
    assert.equal(run.code, 1);
    assert.match(run.error, error);
    assert.match(
      run.error,
      /\nSave a snapshot on a node that is up to date .*, or take another -from: first or now\.\n$/,
    );
    assert.equal(run.output, "");
    assert.deepEqual(readMergeWish(world.replica.connection), []);
  });
}

function contentOf(path: string): ReadableStream<Uint8Array> {
  return ReadableStream.from([new Uint8Array(readFileSync(path))]);
}

/** Saves the database with these headers, as no release does. */
async function saveAs(
  store: SnapshotStore,
  { path }: TestReplica,
  headers: SnapshotEntry["headers"],
): Promise<void> {
  const objectBytes = statSync(path).size;
  const added: SnapshotEntry = {
    ...{ object: "snapshot-1.db", objectBytes, objectSha256: "0".repeat(64), compression: "none" },
    ...{ databaseBytes: objectBytes, databaseSha256: "0".repeat(64), createdAtMs: 1, nodeId: 2n, headers },
  };
  await store.put(added.object, contentOf(path));
  await switchToSnapshot(store, { added, onLeftOver: (reason) => assert.fail(String(reason)) });
}
