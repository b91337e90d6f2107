/** Where the model of JetStream once was kinder or harder than JetStream. */
import assert from "node:assert/strict";
import type { StoredMessage } from "../../src/stream/change_streams.ts";
import { MemoryServer } from "./memory_server.ts";
import { MemoryStreams } from "./memory_streams.ts";
import { Random } from "./random.ts";
import { Life, VirtualTime } from "./virtual_time.ts";

const ENOUGH_MS = 1000;

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
