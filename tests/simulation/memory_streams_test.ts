/** The contract of ChangeStreams on the model of JetStream, and where the model once was kinder or harder than JetStream. */
import assert from "node:assert/strict";
import type { StoredMessage } from "../../src/stream/change_streams.ts";
import {
  changeStreamsContract,
  type ContractWorld,
  type ContractWorldOptions,
} from "../support/change_streams_contract.ts";
import { MemoryServer } from "./memory_server.ts";
import { MemoryStreams } from "./memory_streams.ts";
import { Random } from "./random.ts";
import { Life, VirtualTime } from "./virtual_time.ts";

const ENOUGH_MS = 1000;
/** While a clause runs virtual time passes in steps of so much. */
const STEP_MS = 5;

function makeWorld({ shards, maxMessages }: ContractWorldOptions): Promise<ContractWorld> {
  const time = new VirtualTime();
  const server = new MemoryServer(shards, time, new Random(1), { maxMessages });
  const opened: { streams: MemoryStreams; life: Life }[] = [];
  const interrupt = () => opened.forEach(({ streams }) => streams.interrupt());
  let isOver = false;
  const passing = (async () => {
    while (!isOver) await time.pass(STEP_MS);
  })();
  return Promise.resolve({
    open() {
      const life = new Life(time);
      const streams = new MemoryStreams(server, life);
      opened.push({ streams, life });
      return Promise.resolve(streams);
    },
    interrupt: () => Promise.resolve(interrupt()),
    trim: (shard, belowSequence) => Promise.resolve(server.trim(shard, belowSequence)),
    // As the simulation does: whoever makes the stream anew also ends what reads it.
    remake(shard) {
      server.makeAnew(shard);
      return Promise.resolve(interrupt());
    },
    async [Symbol.asyncDispose]() {
      isOver = true;
      for (const { life } of opened) life.isOver = true;
      await passing;
    },
  });
}

changeStreamsContract("the model", makeWorld, {
  "after closing every call throws, and so does a read that was under way":
    "nobody closes the model: a process of the simulation ends with its life, after which nothing happens to it any more",
});

function openWorld() {
  const time = new VirtualTime();
  const server = new MemoryServer(1, time, new Random(1));
  const store = () => server.store({ shard: 1, table: "t", format: null, payload: new Uint8Array() });
  return { time, server, store, streams: new MemoryStreams(server, new Life(time)) };
}

/** Reads until the reading ends, and returns what came; `end` is why it ended. */
function readAll(reading: AsyncIterable<StoredMessage>): { sequences: number[]; end: unknown } {
  const result: { sequences: number[]; end: unknown } = { sequences: [], end: undefined };
  const run = async () => {
    for await (const { sequence } of reading) result.sequences.push(sequence);
  };
  run().then(() => result.end = "no error", (error) => result.end = error);
  return result;
}

Deno.test("the model ends a reading that begins behind the end of its stream", async () => {
  const { time, store, streams } = openWorld();
  store();
  const { signal } = new AbortController();
  const behind = readAll(streams.read(1, 3, signal));
  const next = readAll(streams.read(1, 2, signal));
  await time.pass(ENOUGH_MS);
  store();
  await time.pass(ENOUGH_MS);
  assert.match(String(behind.end), /the stream ends at 1, before sequence 3/);
  assert.deepEqual(next, { sequences: [2], end: undefined });
});
