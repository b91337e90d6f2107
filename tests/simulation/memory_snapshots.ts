/**
 * An in-memory snapshot store beside the in-memory server, and the lease of whoever saves. `SnapshotView` is what one
 * process sees of it over its network: the very contract of a store, on virtual time.
 */
import { Buffer } from "node:buffer";
import { MarmotError } from "../../src/errors.ts";
import type { Leases } from "../../src/node/snapshot/automatic_saves.ts";
import { MANIFEST_NAME } from "../../src/snapshot/manifest.ts";
import {
  type AccessOptions,
  type ObjectInfo,
  type SnapshotStore,
  sortByName,
  type StoredObject,
} from "../../src/snapshot/snapshot_store.ts";
import type { MemoryStreams } from "./memory_streams.ts";
import type { Life, VirtualTime } from "./virtual_time.ts";

/** How long the lease of a saver holds. */
const LEASE_MS = 3000;

interface MemoryObject {
  bytes: Uint8Array<ArrayBuffer>;
  readonly modifiedAtMs: number;
}

export class MemorySnapshots {
  readonly objects = new Map<string, MemoryObject>();
  /**
   * For checks: by object, how far the saver had read each stream (shard 1 first) when it began to upload. From there on
   * rows of the snapshot are those of the streams, and not before: some were pending when they were copied.
   */
  readonly exactFrom = new Map<string, readonly number[]>();
  #lease: { revision: number; endsAtMs: number } | undefined;
  #revision = 0;

  constructor(readonly time: VirtualTime) {}

  putLease(revision: number | undefined): number | undefined {
    if (this.#lease && this.#lease.endsAtMs <= this.time.nowMs) this.#lease = undefined;
    if (this.#lease?.revision !== revision) return undefined;
    this.#lease = { revision: ++this.#revision, endsAtMs: this.time.nowMs + LEASE_MS };
    return this.#revision;
  }

  releaseLease(revision: number): void {
    if (this.#lease?.revision === revision) this.#lease = undefined;
  }

  /** Turns a bit of the newest object over; false where there is none. */
  spoilNewest(): boolean {
    const names = [...this.objects.keys()].filter((name) => name !== MANIFEST_NAME).sort();
    const object = this.objects.get(names.at(-1) ?? "");
    if (!object) return false;
    const bytes = Uint8Array.from(object.bytes);
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    object.bytes = bytes;
    return true;
  }
}

export interface SnapshotViewParts {
  readonly snapshots: MemorySnapshots;
  /** The connection of the process, over which it reaches the store as well. */
  readonly streams: MemoryStreams;
  readonly life: Life;
  /** How far the process has read each stream, for checks; of one that saves. */
  readonly cursors?: () => readonly number[];
}

export class SnapshotView implements SnapshotStore, Leases {
  readonly location = "memory";
  readonly #parts: SnapshotViewParts;

  constructor(parts: SnapshotViewParts) {
    this.#parts = parts;
  }

  async put(name: string, content: AsyncIterable<Uint8Array>, { signal }: AccessOptions = {}): Promise<void> {
    const { snapshots, life, cursors } = this.#parts;
    const exactFrom = cursors?.();
    const collect = () => collectBytes(content);
    const bytes = name === MANIFEST_NAME ? await collect() : await life.outside(collect);
    signal?.throwIfAborted();
    await this.#ask(() => {
      snapshots.objects.set(name, { bytes, modifiedAtMs: snapshots.time.nowMs });
      if (exactFrom && name !== MANIFEST_NAME) snapshots.exactFrom.set(name, exactFrom);
    });
    signal?.throwIfAborted();
    // The answer takes its time too, and may not come.
    await this.#ask(() => {});
    signal?.throwIfAborted();
  }

  /** The manifest comes over the network; an object at once: who takes one waits where it works on its files. */
  async get(name: string): Promise<StoredObject | undefined> {
    const find = () => this.#parts.snapshots.objects.get(name);
    if (this.#parts.streams.isCutOff) throw awayError();
    const object = name === MANIFEST_NAME ? await this.#ask(find) : find();
    if (!object) return undefined;
    const { bytes } = object;
    const content = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes);
        controller.close();
      },
    });
    return { info: infoOf(name, object), content };
  }

  list(): Promise<ObjectInfo[]> {
    const { objects } = this.#parts.snapshots;
    return this.#ask(() => sortByName([...objects].map(([name, object]) => infoOf(name, object))));
  }

  async delete(name: string): Promise<void> {
    await this.#ask(() => this.#parts.snapshots.objects.delete(name));
  }

  removeAbandoned(): Promise<void> {
    return Promise.resolve();
  }

  leaseMs(): Promise<number> {
    return this.#ask(() => LEASE_MS);
  }

  putLease(_name: string, _holder: string, revision: number | undefined): Promise<number | undefined> {
    return this.#ask(() => this.#parts.snapshots.putLease(revision));
  }

  releaseLease(_name: string, revision: number): Promise<void> {
    return this.#ask(() => this.#parts.snapshots.releaseLease(revision));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #ask<T>(answer: () => T): Promise<T> {
    try {
      return await this.#parts.streams.ask(answer);
    } catch (error) {
      throw awayError(error);
    }
  }
}

function awayError(cause?: unknown): MarmotError {
  return new MarmotError("snapshot", "Cannot reach the snapshot store", { cause });
}

function infoOf(name: string, { bytes, modifiedAtMs }: MemoryObject): ObjectInfo {
  return { name, sizeBytes: bytes.length, modifiedAt: new Date(modifiedAtMs) };
}

async function collectBytes(content: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(Uint8Array.from(chunk));
  return Uint8Array.from(Buffer.concat(chunks));
}
