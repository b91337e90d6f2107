import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MarmotError } from "../../src/errors.ts";
import { MANIFEST_NAME, type SnapshotEntry, snapshotObjectName } from "../../src/snapshot/manifest.ts";
import { readManifest, switchToSnapshot } from "../../src/snapshot/snapshot_catalog.ts";
import type { SnapshotStore } from "../../src/snapshot/snapshot_store.ts";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { FolderStore } from "../../src/snapshot/stores/folder_store.ts";

async function inStore(test: (store: SnapshotStore, folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "marmot-catalog-"));
  try {
    await test(new CheckedStore(new FolderStore(folder)), folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

let count = 0;

/** Puts an object as a saver does, and says what the manifest is to say of it. */
async function upload(store: SnapshotStore): Promise<SnapshotEntry> {
  const content = randomBytes(1000 + ++count);
  const random = randomBytes(8).toString("hex");
  const object = snapshotObjectName({ createdAtMs: count, nodeId: 7n, random });
  await store.put(object, ReadableStream.from([new Uint8Array(content)]));
  const sha256 = createHash("sha256").update(content).digest("hex");
  return {
    ...{ object, objectBytes: content.length, objectSha256: sha256, compression: "none" },
    ...{ databaseBytes: content.length, databaseSha256: sha256, createdAtMs: count, nodeId: 7n, headers: {} },
  };
}

async function save(store: SnapshotStore): Promise<SnapshotEntry> {
  const added = await upload(store);
  await switchToSnapshot(store, { added, onLeftOver: (reason) => assert.fail(String(reason)) });
  return added;
}

Deno.test("the newest two snapshots are kept, and nothing else", async () => {
  await inStore(async (store) => {
    assert.deepEqual((await readManifest(store)).snapshots, []);
    const entries = [await save(store), await save(store), await save(store), await save(store)];
    const kept = [entries[3]!, entries[2]!];
    assert.deepEqual((await readManifest(store)).snapshots, kept);
    const names = (await store.list()).map(({ name }) => name);
    assert.deepEqual(names, [MANIFEST_NAME, ...kept.map(({ object }) => object).sort()].sort());
  });
});

Deno.test("a snapshot that was not uploaded whole is not switched to", async () => {
  await inStore(async (store) => {
    const good = await save(store);
    const added = await upload(store);
    const onLeftOver = () => assert.fail();
    for (const wrong of [{ ...added, object: "missing" }, { ...added, objectBytes: added.objectBytes + 1 }]) {
      await assert.rejects(
        switchToSnapshot(store, { added: wrong, onLeftOver }),
        /^MarmotError: Cannot switch to/,
      );
    }
    assert.deepEqual((await readManifest(store)).snapshots, [good]);
  });
});

Deno.test("a damaged manifest is refused by readers and replaced by the next saver", async () => {
  await inStore(async (store, folder) => {
    const old = await save(store);
    await writeFile(join(folder, MANIFEST_NAME), "{");
    await assert.rejects(readManifest(store), (error) => error instanceof MarmotError);
    const added = await save(store);
    assert.deepEqual((await readManifest(store)).snapshots, [added]);
    // It may be all that is left, so it stays until it is old.
    assert.ok((await readdir(folder)).includes(old.object));
  });
});

Deno.test("orphans go when they are a day old", async () => {
  await inStore(async (store, folder) => {
    const [young, old] = [await upload(store), await upload(store)];
    const twoDaysAgo = Date.now() / 1000 - 2 * 86_400;
    await utimes(join(folder, old.object), twoDaysAgo, twoDaysAgo);
    await save(store);
    const names = await readdir(folder);
    assert.deepEqual([names.includes(young.object), names.includes(old.object)], [true, false]);
  });
});

Deno.test("what can't be removed does not undo the switch", async () => {
  await inStore(async (store, folder) => {
    await save(store);
    await save(store);
    const stubborn = new Proxy(store, {
      get: (target, key) =>
        key === "delete"
          ? () => Promise.reject(new MarmotError("snapshot", "Cannot delete it"))
          : Reflect.get(target, key, target).bind?.(target),
    });
    const added = await upload(store);
    const leftOver: unknown[] = [];
    await switchToSnapshot(stubborn, { added, onLeftOver: (reason) => leftOver.push(reason) });
    assert.equal((await readManifest(store)).snapshots[0]?.object, added.object);
    assert.equal(leftOver.length, 1);
    assert.equal((await readdir(folder)).length, 4);
  });
});

Deno.test("of savers at the same time one is the newest, and its snapshot is there", async () => {
  await inStore(async (store) => {
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 4 }, async () => {
        const added = await upload(store);
        await switchToSnapshot(store, { added, onLeftOver: () => {} });
      }));
      const newest = (await readManifest(store)).snapshots[0]!;
      const object = await store.get(newest.object);
      const hash = createHash("sha256");
      for await (const chunk of object!.content) hash.update(chunk);
      assert.equal(hash.digest("hex"), newest.objectSha256);
    }
  });
});
