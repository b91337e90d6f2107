/**
 * The snapshots of one store by way of its manifest: which there are, and how a new one comes to count. Two nodes
 * that switch at the same time both leave whole snapshots; the manifest names those of the later one, and what is
 * forgotten is removed as an orphan in time.
 */

import { Buffer } from "node:buffer";
import { MarmotError } from "../errors.ts";
import {
  decodeManifest,
  EMPTY_MANIFEST,
  encodeManifest,
  type Manifest,
  MANIFEST_NAME,
  manifestWith,
  MAX_MANIFEST_BYTES,
  removableObjects,
  type SnapshotEntry,
} from "./manifest.ts";
import type { AccessOptions, SnapshotStore } from "./snapshot_store.ts";

/** What nobody has touched for so long belongs to no saver at work. */
const ORPHAN_AGE_MS = 24 * 3_600_000;

/** The manifest; an empty one where the store has none yet. Throws MarmotError "snapshot" for one that is damaged. */
export async function readManifest(store: SnapshotStore, options: AccessOptions = {}): Promise<Manifest> {
  const object = await store.get(MANIFEST_NAME, options);
  if (object === undefined) return EMPTY_MANIFEST;
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of object.content) {
    chunks.push(chunk);
    size += chunk.length;
    // Enough to be refused.
    if (size > MAX_MANIFEST_BYTES) break;
  }
  return decodeManifest(Buffer.concat(chunks));
}

/**
 * Makes an object that was uploaded the newest snapshot, in one step, and then removes what it replaces. A manifest
 * that can't be read is replaced as well, so that a damaged one does not end the saving for ever. What can't be
 * removed is left for the next time: `onLeftOver` is told why.
 */
export async function switchToSnapshot(
  store: SnapshotStore,
  { added, onLeftOver, ...options }: AccessOptions & {
    readonly added: SnapshotEntry;
    readonly onLeftOver: (reason: unknown) => void;
  },
): Promise<Manifest> {
  const before = await readManifest(store, options).catch((error) => {
    if (error instanceof MarmotError) return EMPTY_MANIFEST;
    throw error;
  });
  const stored = await store.list(options);
  const object = stored.find(({ name }) => name === added.object);
  if (object?.sizeBytes !== added.objectBytes) {
    throw new MarmotError(
      "snapshot",
      `Cannot switch to snapshot "${added.object}" in ${store.location}: ` +
        (object === undefined
          ? "it is not there"
          : `it has ${object.sizeBytes} bytes, not ${added.objectBytes}`),
    );
  }
  const manifest = manifestWith(before, { added, stored });
  await store.put(MANIFEST_NAME, bytesOf(manifest), options);
  await removeReplaced(store, before, options).catch((error) => {
    options.signal?.throwIfAborted();
    onLeftOver(error);
  });
  return manifest;
}

async function removeReplaced(store: SnapshotStore, before: Manifest, options: AccessOptions): Promise<void> {
  // Listed before the manifest is read again: what is named by then can't be among what is removed.
  const stored = await store.list(options);
  const now = await readManifest(store, options);
  // A manifest that vanished says nothing about what may go.
  if (now.snapshots.length === 0) return;
  for (const name of removableObjects({ before, now, stored, orphanAgeMs: ORPHAN_AGE_MS })) {
    await store.delete(name, options);
  }
  await store.removeAbandoned(ORPHAN_AGE_MS, options);
}

async function* bytesOf(manifest: Manifest): AsyncGenerator<Uint8Array, void, void> {
  await Promise.resolve();
  yield encodeManifest(manifest);
}
