/**
 * What every implementation of ChangeStreams must do, one test per clause of the contract. The same suite runs
 * over JetStream and over the model that the simulation uses, so that the model does not lie.
 */
import assert from "node:assert/strict";
import {
  type ChangeStreams,
  PublishError,
  type PublishRequest,
  type StoredMessage,
} from "../../src/stream/change_streams.ts";

export interface ContractWorldOptions {
  readonly shards: number;
  /** Retention in messages. */
  readonly maxMessages: number;
}

/** A broker of its own for one test. */
export interface ContractWorld extends AsyncDisposable {
  /** The streams as a further node gets them; closed by the world's end if not before. */
  open(): Promise<ChangeStreams>;
  /** Breaks every connection; resolves when the broker is there again. */
  interrupt(): Promise<void>;
  /** Removes the messages below a sequence, as retention does. */
  trim(shard: number, belowSequence: number): Promise<void>;
  /** Deletes a stream and makes it anew, empty. */
  remake(shard: number): Promise<void>;
}

export type MakeWorld = (options: ContractWorldOptions) => Promise<ContractWorld>;

const FORMAT = "contract";

/** `without`: clauses that do not apply to an implementation, each with the reason. */
export function changeStreamsContract(
  name: string,
  makeWorld: MakeWorld,
  without: Readonly<Record<string, string>> = {},
): void {
  const unknown = new Set(Object.keys(without));

  function clause(sentence: string, test: (world: ContractWorld) => Promise<void>): void {
    if (unknown.delete(sentence)) return;
    Deno.test(`${name}: ${sentence}`, async () => {
      await using world = await makeWorld({ shards: 2, maxMessages: 10 });
      await test(world);
    });
  }

  clause("sequences count from 1 in each shard", async (world) => {
    const streams = await world.open();
    assert.equal(streams.shards, 2);
    assert.deepEqual(await publishAll(streams, 1, ["a", "b", "c"]), [1, 2, 3]);
    assert.deepEqual(await publishAll(streams, 2, ["d"]), [1]);
  });

  clause("a reader gets what was stored, with its shard, sequence and bytes", async (world) => {
    const streams = await world.open();
    const payload = Uint8Array.of(0, 255, 13, 10, 128);
    await streams.publish({ shard: 2, table: "users", format: FORMAT, payload });
    await streams.publish({ shard: 2, table: null, format: null, payload: new Uint8Array() });
    const [first, second] = await take(streams, { shard: 2, from: 1, count: 2 });
    assert.deepEqual([first?.shard, first?.sequence, first?.format], [2, 1, FORMAT]);
    assert.deepEqual(first?.payload, payload);
    assert.deepEqual([second?.shard, second?.sequence, second?.format], [2, 2, null]);
    assert.deepEqual(second?.payload, new Uint8Array());
    assert.notEqual(first?.subject, second?.subject);
  });

  clause("reading begins at any sequence and goes on with what comes", async (world) => {
    const [writer, reader] = [await world.open(), await world.open()];
    await publishAll(writer, 1, ["a", "b", "c"]);
    const reading = take(reader, { shard: 1, from: 2, count: 4 });
    await publishAll(writer, 1, ["d", "e"]);
    assert.deepEqual(textsOf(await reading), ["b", "c", "d", "e"]);
  });

  clause("messages published without waiting are stored in the order of the calls", async (world) => {
    const streams = await world.open();
    const texts = Array.from({ length: 9 }, (_, index) => `${index}`);
    const sequences = await Promise.all(texts.map((text) => streams.publish(message(1, text))));
    assert.deepEqual(sequences, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual(textsOf(await take(streams, { shard: 1, from: 1, count: 9 })), texts);
  });

  clause("a message asked for by its sequence is the message that was read", async (world) => {
    const [one, two] = [await world.open(), await world.open()];
    await publishAll(one, 1, ["a", "b", "c"]);
    for (const read of await take(one, { shard: 1, from: 1, count: 3 })) {
      assert.deepEqual(await two.messageAt(1, read.sequence), read);
    }
    assert.equal(await one.messageAt(1, 4), undefined);
    assert.equal(await one.messageAt(2, 1), undefined);
    await world.trim(1, 2);
    assert.equal(await one.messageAt(1, 1), undefined);
  });

  clause("a stream tells its bounds and its retention", async (world) => {
    const streams = await world.open();
    const empty = await streams.describe(1);
    assert.deepEqual([empty.firstSequence, empty.lastSequence, empty.maxMessages], [1, 0, 10]);
    await publishAll(streams, 1, Array.from({ length: 12 }, (_, index) => `${index}`));
    const full = await streams.describe(1);
    assert.deepEqual([full.firstSequence, full.lastSequence], [3, 12]);
    assert.deepEqual([full.name, full.createdAt], [empty.name, empty.createdAt]);
    await world.trim(1, 13);
    const trimmed = await streams.describe(1);
    assert.deepEqual([trimmed.firstSequence, trimmed.lastSequence], [13, 12]);
    assert.notEqual((await streams.describe(2)).name, full.name);
  });

  clause("a publish is refused, and not stored, where its subject moved on", async (world) => {
    const streams = await world.open();
    const expecting = (sequence: number) => ({
      ...message(1, "late"),
      expectedLastSubjectSequence: sequence,
    });
    assert.equal(await streams.publish(expecting(0)), 1);
    await assertPublishFails(streams.publish(expecting(0)), "refused");
    await streams.publish(message(1, "of another table", "orders"));
    assert.equal(await streams.publish(expecting(1)), 3);
    await assertPublishFails(streams.publish(expecting(2)), "refused");
    assert.equal((await streams.describe(1)).lastSequence, 3);
  });

  clause("the last sequence of a table is that of its own messages", async (world) => {
    const streams = await world.open();
    assert.equal(await streams.lastSequenceOfTable(1, "users"), 0);
    await publishAll(streams, 1, ["a", "b"]);
    await streams.publish(message(1, "c", "Users.*>\u00e9 "));
    await streams.publish({ ...message(1, "d"), table: null });
    assert.equal(await streams.lastSequenceOfTable(1, "users"), 2);
    assert.equal(await streams.lastSequenceOfTable(1, "Users.*>\u00e9 "), 3);
    assert.equal(await streams.lastSequenceOfTable(1, "Users"), 0);
    assert.equal(await streams.lastSequenceOfTable(2, "users"), 0);
  });

  clause("a message above the largest size is not stored", async (world) => {
    const streams = await world.open();
    const payload = new Uint8Array(streams.maxPayloadBytes + 1);
    await assertPublishFails(streams.publish({ ...message(1, ""), payload }), "unknown");
    assert.equal((await streams.describe(1)).lastSequence, 0);
  });

  clause("reading ends without error when its signal aborts", async (world) => {
    const streams = await world.open();
    await publishAll(streams, 1, ["a", "b"]);
    const stop = new AbortController();
    const texts: string[] = [];
    for await (const stored of streams.read(1, 1, stop.signal)) {
      texts.push(textOf(stored));
      if (texts.length === 2) queueMicrotask(() => stop.abort());
    }
    assert.deepEqual(texts, ["a", "b"]);
    for await (const _ of streams.read(1, 1, stop.signal)) assert.fail("the signal had aborted");
  });

  clause("reading throws when the connection breaks, and a new read goes on", async (world) => {
    const streams = await world.open();
    await publishAll(streams, 1, ["a", "b"]);
    const broken = readUntilItThrows(streams, 1, 1);
    await broken.reached(2);
    await world.interrupt();
    await broken.thrown();
    const texts = await eventually(async () => textsOf(await take(streams, { shard: 1, from: 2, count: 1 })));
    assert.deepEqual(texts, ["b"]);
    await eventually(() => publishAll(streams, 1, ["c"]));
  });

  clause("reading from a sequence that was trimmed throws", async (world) => {
    const streams = await world.open();
    await publishAll(streams, 1, ["a", "b", "c"]);
    await world.trim(1, 3);
    await assert.rejects(take(streams, { shard: 1, from: 2, count: 1 }));
    assert.deepEqual(textsOf(await take(streams, { shard: 1, from: 3, count: 1 })), ["c"]);
    await world.trim(1, 4);
    await assert.rejects(take(streams, { shard: 1, from: 3, count: 1 }));
  });

  clause("reading from a sequence that the stream has not reached throws", async (world) => {
    const streams = await world.open();
    await publishAll(streams, 1, ["a"]);
    await assert.rejects(take(streams, { shard: 1, from: 3, count: 1 }));
    const reading = take(streams, { shard: 1, from: 2, count: 1 });
    await publishAll(streams, 1, ["b"]);
    assert.deepEqual(textsOf(await reading), ["b"]);
  });

  clause("a stream made anew has another time of creation and ends what reads it", async (world) => {
    const streams = await world.open();
    await publishAll(streams, 1, ["a"]);
    const before = await streams.describe(1);
    const reading = readUntilItThrows(streams, 1, 1);
    await reading.reached(1);
    await world.remake(1);
    await reading.thrown();
    const after = await streams.describe(1);
    assert.notEqual(after.createdAt, before.createdAt);
    assert.equal(after.lastSequence, 0);
    assert.equal(await streams.messageAt(1, 1), undefined);
  });

  clause("a reader is told that its reading stands before the first message comes", async (world) => {
    const streams = await world.open();
    await publishAll(streams, 1, ["a"]);
    const seen: string[] = [];
    const onOpen = async () => {
      await streams.describe(1);
      seen.push("open");
    };
    for await (const stored of streams.read(1, 1, new AbortController().signal, onOpen)) {
      seen.push(textOf(stored));
      break;
    }
    assert.deepEqual(seen, ["open", "a"]);
    const refuse = () => Promise.reject(new Error("another stream"));
    await assert.rejects(take(streams, { shard: 1, from: 1, count: 1, onOpen: refuse }), /another stream/);
  });

  clause("a stream that is made anew once a reading stands ends it", async (world) => {
    const streams = await world.open();
    await publishAll(streams, 1, ["a"]);
    const onOpen = async () => {
      await world.remake(1);
      await publishAll(streams, 1, ["b"]);
    };
    await assert.rejects(take(streams, { shard: 1, from: 1, count: 1, onOpen }));
  });

  clause("after closing every call throws, and so does a read that was under way", async (world) => {
    const streams = await world.open();
    const reading = readUntilItThrows(streams, 1, 1);
    const sent = streams.publish(message(1, "a"));
    await streams.close();
    assert.equal(await sent, 1);
    await reading.thrown();
    await assert.rejects(streams.describe(1));
    await assert.rejects(streams.messageAt(1, 1));
    await assert.rejects(streams.lastSequenceOfTable(1, "users"));
    await assertPublishFails(streams.publish(message(1, "b")), "unknown");
    await assert.rejects(take(streams, { shard: 1, from: 1, count: 1 }));
  });

  assert.deepEqual([...unknown], [], "there are no such clauses");
}

export function message(shard: number, text: string, table = "users"): PublishRequest {
  return { shard, table, format: FORMAT, payload: new TextEncoder().encode(text) };
}

export async function publishAll(
  streams: ChangeStreams,
  shard: number,
  texts: readonly string[],
): Promise<number[]> {
  const sequences: number[] = [];
  for (const text of texts) sequences.push(await streams.publish(message(shard, text)));
  return sequences;
}

/** The next `count` messages from a sequence on. */
export async function take(
  streams: ChangeStreams,
  { shard, from, count, onOpen }: {
    shard: number;
    from: number;
    count: number;
    onOpen?: () => Promise<void>;
  },
): Promise<StoredMessage[]> {
  const messages: StoredMessage[] = [];
  for await (const stored of streams.read(shard, from, new AbortController().signal, onOpen)) {
    messages.push(stored);
    if (messages.length === count) break;
  }
  return messages;
}

/** A read that goes on by itself until it throws, as it must some time. */
export function readUntilItThrows(streams: ChangeStreams, shard: number, fromSequence: number) {
  let last = 0;
  let end: unknown;
  let wake = () => {};
  const run = async () => {
    for await (const { sequence } of streams.read(shard, fromSequence, new AbortController().signal)) {
      last = sequence;
      wake();
    }
  };
  const running = run().then(() => new Error("the reading ended without an error"), (error) => {
    end = error;
    wake();
    return undefined;
  });
  return {
    /** Resolves when the message with that sequence was read; throws if the reading ends before. */
    reached: async (sequence: number): Promise<void> => {
      while (last < sequence) {
        if (end !== undefined) throw end;
        await new Promise<void>((resolve) => wake = resolve);
      }
    },
    /** Resolves when the reading threw. */
    thrown: async (): Promise<void> => {
      const failure = await running;
      if (failure !== undefined) throw failure;
    },
  };
}

/** Tries until it does not throw; for what comes back by itself after an outage. */
export async function eventually<T>(attempt: () => Promise<T>, timeoutMs = 20_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function textsOf(messages: readonly StoredMessage[]): string[] {
  return messages.map(textOf);
}

function textOf({ payload }: StoredMessage): string {
  return new TextDecoder().decode(payload);
}

export async function assertPublishFails(
  publish: Promise<number>,
  failure: "refused" | "unknown",
): Promise<void> {
  await assert.rejects(publish, (error) => error instanceof PublishError && error.failure === failure);
}
