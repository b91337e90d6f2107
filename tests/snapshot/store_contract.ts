/** What src/snapshot/snapshot_store.ts promises, checked against a real server or folder of every kind. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { MarmotError } from "../../src/errors.ts";
import type { SnapshotStore } from "../../src/snapshot/snapshot_store.ts";
import { CuttingProxy } from "./cutting_proxy.ts";

export interface StoreWorld extends AsyncDisposable {
  /** Bytes that need several parts of this kind of store. */
  readonly largeBytes: number;
  /** Opens a store. Equal places are the same one, other places are empty at first. */
  open(options: OpenOptions): Promise<SnapshotStore>;
  /** Where the server listens; undefined where there is none. */
  readonly port: number | undefined;
  /** The store is given a connection, which is there or waited for; its opener tells what is wrong with it. */
  readonly isConnected?: boolean;
  /** All that lies at the place, hidden, unfinished or not, as the server keeps it; empty for an empty place. */
  residue(place: string): Promise<string[]>;
  /** The server may make a file of what was broken off, after it was told to delete it: removeAbandoned takes that. */
  readonly keepsBrokenOff?: boolean;
  /** What dying_writer.ts is told to write so many bytes to the place. */
  writerArguments(place: string, bytes: number): string[];
  /** Makes an object shorter behind the store's back; undefined where the store's server would not let one. */
  readonly truncate?: (place: string, name: string) => Promise<void>;
  /** Reads an object on the server's own disk; undefined where the server answers a reader with what it keeps there. */
  readonly stored?: (place: string, name: string) => AsyncIterable<Uint8Array>;
  /** What the sentence for wrong credentials matches; undefined where there are none. */
  readonly refusal?: RegExp;
}

export interface OpenOptions {
  readonly place: string;
  /** In place of the server's own. */
  readonly port?: number;
  readonly hasWrongCredentials?: boolean;
  readonly stallMs?: number;
}

const DYING_WRITER = fileURLToPath(new URL("dying_writer.ts", import.meta.url));

type Step = (world: StoreWorld, place: string) => Promise<void>;

/** One test with a step for each promise. */
export function testStoreContract(kind: string, start: () => Promise<StoreWorld>): void {
  Deno.test(`${kind} keeps what a snapshot store promises`, async (t) => {
    await using world = await start();
    const steps = {
      ...STEPS,
      ...(world.truncate === undefined ? {} : TRUNCATION_STEPS),
      ...(world.port === undefined ? {} : NETWORK_STEPS),
      ...(world.port === undefined || world.isConnected ? {} : CONNECT_STEPS),
      ...(world.refusal === undefined ? {} : CREDENTIALS_STEPS),
    };
    for (const [index, [name, step]] of Object.entries(steps).entries()) {
      await t.step(name, () => step(world, `place-${index}`));
    }
  });
}

const STEPS: Readonly<Record<string, Step>> = {
  async "objects of every size come back as they were put"(world, place) {
    await using store = await opened(world, { place });
    for (const size of [0, 1, 70_000, world.largeBytes]) {
      await store.put("object", bytes(size));
      assert.equal(await fingerprint(store, "object"), await digest(bytes(size)));
      assert.deepEqual((await store.list()).map((info) => info.sizeBytes), [size]);
    }
  },

  async "an empty place has no objects, and deleting a missing one is fine"(world, place) {
    await using store = await opened(world, { place });
    assert.deepEqual(await store.list(), []);
    assert.equal(await store.get("missing"), undefined);
    await store.delete("missing");
    await store.removeAbandoned(0);
    await store.put("other", bytes(1));
    assert.equal(await store.get("missing"), undefined);
    await store.delete("missing");
    await store.delete("other");
    assert.deepEqual(await store.list(), []);
    assert.equal(await store.get("other"), undefined);
    assert.deepEqual(await world.residue(place), []);
  },

  async "the list is ordered by name, with sizes and times, and read by every handle"(world, place) {
    await using writer = await opened(world, { place });
    for (const name of ["b.2", "a", "b-1", "b_3", "10", "9"]) {
      await writer.put(name, bytes(name.length));
    }
    await using reader = await opened(world, { place });
    const list = await reader.list();
    assert.deepEqual(list.map(({ name }) => name), ["10", "9", "a", "b-1", "b.2", "b_3"]);
    for (const { name, sizeBytes, modifiedAt } of list) {
      assert.equal(sizeBytes, name.length);
      const ageMs = Date.now() - modifiedAt.getTime();
      assert.ok(Math.abs(ageMs) < 3_600_000, `${name} is ${ageMs} ms old`);
      assert.deepEqual((await reader.get(name))?.info.sizeBytes, sizeBytes);
    }
  },

  async "names that some store could not keep are refused"(world, place) {
    await using store = await opened(world, { place });
    for (
      const name of ["", ".", "..", ".hidden", "a/b", "../a", "a b", "A", "ä", "a\0", "a%2e", "a".repeat(101)]
    ) {
      for (const act of [() => store.put(name, bytes(1)), () => store.get(name), () => store.delete(name)]) {
        await rejectsPlainly(act(), /^Cannot use ".*" as the name of a snapshot object/);
      }
    }
    await store.put("a".repeat(100), bytes(1));
    assert.deepEqual((await store.list()).map(({ name }) => name), ["a".repeat(100)]);
  },

  async "an object under way is not seen, and the old one stays until it is whole"(world, place) {
    await using store = await opened(world, { place });
    for (const before of [undefined, await digest(bytes(100))]) {
      const names = before === undefined ? [] : ["object"];
      if (before !== undefined) await store.put("object", bytes(100));
      const halfway = Promise.withResolvers<void>();
      const goOn = Promise.withResolvers<void>();
      const putting = store.put("object", haltedContent(world.largeBytes, halfway, goOn));
      putting.catch(() => {});
      await halfway.promise;
      assert.deepEqual((await store.list()).map(({ name }) => name), names);
      assert.equal(await fingerprint(store, "object"), before);
      goOn.resolve();
      await putting;
      assert.equal(await fingerprint(store, "object"), await digest(bytes(world.largeBytes)));
      if (before === undefined) await store.delete("object");
    }
  },

  async "content that fails leaves the old object and nothing else"(world, place) {
    await using store = await opened(world, { place });
    await store.put("object", bytes(100));
    const before = await world.residue(place);
    const tidy = () => store.removeAbandoned(0);
    const failure = new Error("the disk is full");
    const failing = async function* () {
      yield* bytes(world.largeBytes);
      throw failure;
    };
    await assert.rejects(store.put("object", failing()), (error) => error === failure);
    await assert.rejects(store.put("other", failing()), (error) => error === failure);
    assert.equal(await fingerprint(store, "object"), await digest(bytes(100)));
    assert.deepEqual((await store.list()).map(({ name }) => name), ["object"]);
    await tidied({ world, place, expected: before, ...(world.keepsBrokenOff ? { tidy } : {}) });
  },

  async "an aborted put rejects with the reason and leaves the old object"(world, place) {
    await using store = await opened(world, { place });
    await store.put("object", bytes(100));
    const before = await world.residue(place);
    const tidy = () => store.removeAbandoned(0);
    const abort = new AbortController();
    const reason = new Error("Marmot is stopping");
    const halfway = Promise.withResolvers<void>();
    const putting = store.put(
      "object",
      haltedContent(world.largeBytes, halfway, Promise.withResolvers<void>(), abort.signal),
      { signal: abort.signal },
    );
    putting.catch(() => {});
    await halfway.promise;
    abort.abort(reason);
    await assert.rejects(putting, (error) => error === reason);
    await assert.rejects(
      store.put("object", bytes(1), { signal: abort.signal }),
      (error) => error === reason,
    );
    assert.equal(await fingerprint(store, "object"), await digest(bytes(100)));
    await tidied({ world, place, expected: before, ...(world.keepsBrokenOff ? { tidy } : {}) });
  },

  async "of writers at the same time one wins, whole"(world, place) {
    const sizes = [world.largeBytes, world.largeBytes - 1, 5, world.largeBytes - 70_000];
    const stores = await Promise.all(sizes.map(() => world.open({ place })));
    try {
      await Promise.all(stores.map((store, index) => store.put("object", bytes(sizes[index]!, index))));
      await using store = await opened(world, { place });
      const winner = () =>
        world.stored === undefined ? fingerprint(store, "object") : digest(world.stored(place, "object"));
      const found = await winner();
      const written = await Promise.all(sizes.map((size, index) => digest(bytes(size, index))));
      assert.ok(found !== undefined && written.includes(found));
      assert.deepEqual((await store.list()).map(({ name }) => name), ["object"]);
      await store.removeAbandoned(0);
      assert.equal(await winner(), found);
    } finally {
      for (const store of stores) await store.close();
    }
  },

  async "a reader that wants no more is let go"(world, place) {
    await using store = await opened(world, { place });
    await store.put("object", bytes(world.largeBytes));
    for (let round = 0; round < 3; round++) {
      const content = (await store.get("object"))!.content;
      const reader = content.getReader();
      if (round > 0) assert.ok((await reader.read()).value!.length > 0);
      await reader.cancel();
    }
    const abort = new AbortController();
    const reason = new Error("Marmot is stopping");
    const content = (await store.get("object", { signal: abort.signal }))!.content;
    abort.abort(reason);
    await assert.rejects(digest(content), (error) => error === reason);
  },

  async "a writer that is killed leaves the old object, and what it left is removed once it is old"(
    world,
    place,
  ) {
    await using store = await opened(world, { place });
    await store.put("kept", bytes(10));
    const before = await world.residue(place);
    const writer = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", DYING_WRITER, ...world.writerArguments(place, world.largeBytes)],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const output = writer.stdout.getReader();
    const { value } = await output.read();
    assert.equal(new TextDecoder().decode(value).trim(), "halfway");
    writer.kill("SIGKILL");
    await output.cancel();
    await writer.status;
    assert.deepEqual((await store.list()).map(({ name }) => name), ["kept"]);
    assert.equal(await store.get("object"), undefined);
    await store.removeAbandoned(3_600_000);
    await tidied({ world, place, expected: before, tidy: () => store.removeAbandoned(0) });
    assert.equal(await fingerprint(store, "kept"), await digest(bytes(10)));
  },

  async "a writer at work is not taken for one that died"(world, place) {
    await using store = await opened(world, { place });
    const halfway = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const putting = store.put("object", haltedContent(world.largeBytes, halfway, goOn));
    putting.catch(() => {});
    await halfway.promise;
    await store.removeAbandoned(3_600_000);
    goOn.resolve();
    await putting;
    assert.equal(await fingerprint(store, "object"), await digest(bytes(world.largeBytes)));
  },
};

const TRUNCATION_STEPS: Readonly<Record<string, Step>> = {
  async "an object that became shorter is not taken for whole"(world, place) {
    await using store = await opened(world, { place });
    await store.put("object", bytes(world.largeBytes));
    const { content } = (await store.get("object"))!;
    await world.truncate!(place, "object");
    await rejectsPlainly(
      digest(content),
      /^Cannot read snapshot object "object" from .*(broke off after|its chunks are gone)/,
    );
  },
};

/** More than all the buffers on the way hold. */
const NETWORK_BYTES = 24_000_001;

const NETWORK_STEPS: Readonly<Record<string, Step>> = {
  async "a connection that breaks is an error, never the end of the object"(world, place) {
    await using store = await opened(world, { place });
    await store.put("object", bytes(NETWORK_BYTES));
    await using proxy = await CuttingProxy.start(world.port!);
    await using remote = await opened(world, { place, port: proxy.port, stallMs: 5_000 });
    proxy.cutAfter(NETWORK_BYTES / 2);
    const { content } = (await remote.get("object"))!;
    await rejectsPlainly(digest(content), /^Cannot read snapshot object "object" from /);
    proxy.cutAfter(NETWORK_BYTES / 2);
    await rejectsPlainly(
      remote.put("object", bytes(NETWORK_BYTES, 1)),
      /^Cannot write snapshot object "object" to /,
    );
    assert.equal(await fingerprint(store, "object"), await digest(bytes(NETWORK_BYTES)));
  },

  async "a server that is silent is given up"(world, place) {
    await using proxy = await CuttingProxy.start(world.port!);
    await using store = await opened(world, { place });
    await store.put("object", bytes(NETWORK_BYTES));
    await using remote = await opened(world, { place, port: proxy.port, stallMs: 2_000 });
    const { content } = (await remote.get("object"))!;
    proxy.hold();
    await rejectsPlainly(digest(content), /^Cannot read snapshot object "object" from /);
    await rejectsPlainly(remote.put("object", bytes(10)), /^Cannot write snapshot object "object" to /);
    await rejectsPlainly(remote.list(), /^Cannot list the snapshots in /);
  },
};

const CONNECT_STEPS: Readonly<Record<string, Step>> = {
  async "a server that is not there is told in one sentence"(world, place) {
    const proxy = await CuttingProxy.start(world.port!);
    const { port } = proxy;
    await proxy[Symbol.asyncDispose]();
    const use = async () => {
      await using store = await opened(world, { place, port });
      await store.list();
    };
    await rejectsPlainly(use(), /^Cannot .*(connect|reach)/);
  },
};

const CREDENTIALS_STEPS: Readonly<Record<string, Step>> = {
  async "wrong credentials are told in one sentence"(world, place) {
    const use = async (act: (store: SnapshotStore) => Promise<unknown>) => {
      await using store = await opened(world, { place, hasWrongCredentials: true });
      await act(store);
    };
    for (
      const act of [
        (store: SnapshotStore) => store.list(),
        (store: SnapshotStore) => store.get("object"),
        (store: SnapshotStore) => store.put("object", bytes(world.largeBytes)),
        (store: SnapshotStore) => store.delete("object"),
      ]
    ) {
      const error = await rejectsPlainly(use(act), world.refusal!);
      assert.ok(error.hint !== undefined);
    }
  },
};

/** Rejects with a MarmotError of one line that matches and that shows no password. */
async function rejectsPlainly(promise: Promise<unknown>, pattern: RegExp): Promise<MarmotError> {
  const error = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof MarmotError, `not a MarmotError: ${error?.stack ?? error}`);
  assert.match(error.message, pattern);
  for (const text of [error.message, error.hint ?? ""]) {
    assert.ok(!text.includes("\n"), text);
    assert.ok(!/s3cret/i.test(text), text);
  }
  return error;
}

/** Waits until nothing else is left at the place: a server may notice late that a writer is gone. */
async function tidied(
  { world, place, expected, tidy }: {
    world: StoreWorld;
    place: string;
    expected: readonly string[];
    /** What removes it; by itself unless told. */
    tidy?: () => Promise<void>;
  },
): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    await tidy?.();
    const residue = await world.residue(place);
    if (isDeepStrictEqual(residue, expected)) return;
    assert.ok(Date.now() < deadline, `still there: ${residue}`);
    await delay(20);
  }
}

async function opened(world: StoreWorld, options: OpenOptions): Promise<SnapshotStore & AsyncDisposable> {
  const store = await world.open(options);
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

/** `size` bytes that differ by their place and the seed, in chunks of uneven lengths. */
export async function* bytes(size: number, seed = 0): AsyncGenerator<Uint8Array, void, void> {
  const block = new Uint8Array(100_003);
  for (let index = 0; index < block.length; index++) block[index] = (index * 7 + (index >> 8) + seed) & 0xff;
  for (let start = 0; start < size; start += block.length) {
    yield block.slice(0, Math.min(block.length, size - start));
    block[0] = (block[0]! + 1) & 0xff;
  }
}

/** The same bytes, halting after three quarters. Ends with the signal's reason when it aborts. */
async function* haltedContent(
  size: number,
  halfway: PromiseWithResolvers<void>,
  goOn: PromiseWithResolvers<void>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  signal?.addEventListener("abort", () => goOn.reject(signal.reason), { once: true });
  let count = 0;
  let isHalted = false;
  for await (const chunk of bytes(size)) {
    if (!isHalted && count > size * 0.75) {
      isHalted = true;
      halfway.resolve();
      await goOn.promise;
    }
    count += chunk.length;
    yield chunk;
  }
}

async function fingerprint(store: SnapshotStore, name: string): Promise<string | undefined> {
  const object = await store.get(name);
  return object === undefined ? undefined : await digest(object.content);
}

async function digest(content: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of content) {
    hash.update(chunk);
    size += chunk.length;
  }
  return `${size} ${hash.digest("hex")}`;
}
