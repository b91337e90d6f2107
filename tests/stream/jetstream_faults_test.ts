/** What JetStream and the network can do to a node, beyond the contract's own suite. */
import { headers } from "@nats-io/nats-core";
import assert from "node:assert/strict";
import { connect } from "node:net";
import { connectToNats } from "../../src/stream/socket_transport.ts";
import { fetchedMessage } from "../../src/stream/stored_message.ts";
import {
  assertPublishFails,
  eventually,
  message,
  publishAll,
  readUntilItThrows,
  take,
  textsOf,
} from "../support/change_streams_contract.ts";
import { ServerWorld } from "./server_world.ts";

Deno.test("what was acknowledged before a SIGKILL is there after it, and nothing twice", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open({ maxLogEntries: 100_000 });
  const acknowledged = new Map<number, string>();
  const publishes: Promise<void>[] = [];
  let isUp = true;
  for (let number = 1; isUp; number++) {
    const text = `${number}`;
    publishes.push(
      streams.publish(message(1, text)).then(
        (sequence) => void acknowledged.set(sequence, text),
        () => void (isUp = false),
      ),
    );
    if (number === 400) void world.server.kill();
    if (number % 20 === 0) await Promise.race([publishes.at(-1), new Promise((r) => setTimeout(r, 20))]);
  }
  await Promise.all(publishes);
  assert.ok(acknowledged.size > 0);
  await world.server.restart();
  const { lastSequence } = await eventually(() => streams.describe(1));
  const stored = await take(streams, { shard: 1, from: 1, count: lastSequence });
  const texts = textsOf(stored);
  assert.equal(new Set(texts).size, texts.length);
  for (const [sequence, text] of acknowledged) assert.equal(texts[sequence - 1], text);
});

Deno.test("a server that halts lets a publish fail as unknown and ends the reading", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  await publishAll(streams, 1, ["a"]);
  const reading = readUntilItThrows(streams, 1, 1);
  await reading.reached(1);
  await world.server.pause();
  await assertPublishFails(streams.publish(message(1, "b")), "unknown");
  await assert.rejects(streams.describe(1), { name: "MarmotError", code: "broker" });
  await reading.thrown();
  world.server.resume();
  await eventually(() => publishAll(streams, 1, ["c"]));
  // The halted server had the bytes of "b": that is a late message.
  const { lastSequence } = await streams.describe(1);
  assert.deepEqual(textsOf(await take(streams, { shard: 1, from: 1, count: lastSequence })), ["a", "b", "c"]);
});

Deno.test("messages that were purged before they came end the reading, though no later one comes", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  await publishAll(streams, 1, ["a"]);
  const reading = readUntilItThrows(streams, 1, 1);
  await reading.reached(1);
  // A purge up to a sequence that is still to come moves the stream on, as if messages had come and gone.
  await world.administer((manager) => manager.streams.purge("marmot-changes-1", { seq: 50 }));
  await reading.thrown();
  await assert.rejects(take(streams, { shard: 1, from: 2, count: 1 }));
});

Deno.test("a consumer that somebody deletes ends the reading", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  await publishAll(streams, 1, ["a"]);
  const reading = readUntilItThrows(streams, 1, 1);
  await reading.reached(1);
  await world.administer(async (manager) => {
    for await (const { name } of manager.consumers.list("marmot-changes-1")) {
      await manager.consumers.delete("marmot-changes-1", name);
    }
  });
  await reading.thrown();
});

Deno.test("a stream that is deleted ends the reading, and is made anew when it is asked for", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  const reading = readUntilItThrows(streams, 1, 1);
  await publishAll(streams, 1, ["a"]);
  await reading.reached(1);
  const { createdAt: before } = await streams.describe(1);
  await world.administer((manager) => manager.streams.delete("marmot-changes-1"));
  await reading.thrown();
  const { createdAt, lastSequence } = await streams.describe(1);
  assert.notEqual(createdAt, before);
  assert.equal(lastSequence, 0);
});

Deno.test("a message that is gone in the middle of a stream ends the reading at the gap", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  await publishAll(streams, 1, ["a", "b", "c"]);
  await streams.publish(message(1, "d", "orders"));
  await world.administer((manager) => {
    return manager.streams.purge("marmot-changes-1", { filter: "marmot-change-log-1.users" });
  });
  await publishAll(streams, 1, ["e"]);
  assert.deepEqual(textsOf(await take(streams, { shard: 1, from: 4, count: 2 })), ["d", "e"]);
  await world.administer((manager) => {
    return manager.streams.purge("marmot-changes-1", { filter: "marmot-change-log-1.users" });
  });
  await publishAll(streams, 1, ["f"]);
  const reading = readUntilItThrows(streams, 1, 4);
  await reading.reached(4);
  await reading.thrown();
});

Deno.test("a reader that ends leaves no consumer behind", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  await publishAll(streams, 1, ["a"]);
  await take(streams, { shard: 1, from: 1, count: 1 });
  await eventually(async () => {
    const { state } = await world.administer((manager) => manager.streams.info("marmot-changes-1"));
    assert.equal(state.consumer_count, 0);
  });
});

Deno.test("a long backlog of large and small messages is read completely, and not asked for in ever larger pieces", async () => {
  await using world = await ServerWorld.start();
  const watcher = await connectToNats({ servers: `127.0.0.1:${world.server.port}` });
  await using _end = { [Symbol.asyncDispose]: () => watcher.close() };
  const asked: number[] = [];
  watcher.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", {
    callback: (_, request) => void asked.push(request.json<{ max_bytes: number }>().max_bytes),
  });
  await watcher.flush();
  const streams = await world.open({ maxLogEntries: 100_000 });
  const large = new Uint8Array(streams.maxPayloadBytes - 1_000).fill(7);
  for (let number = 0; number < 30; number++) await streams.publish({ ...message(1, ""), payload: large });
  const small = Array.from({ length: 5_000 }, (_, number) => streams.publish(message(1, `${number}`)));
  await Promise.all(small);
  const stored = await take(streams, { shard: 1, from: 1, count: 5_030 });
  assert.deepEqual(stored.map(({ sequence }) => sequence), Array.from({ length: 5_030 }, (_, i) => i + 1));
  assert.ok(stored.slice(0, 30).every(({ payload }) => payload.length === large.length));
  await watcher.flush();
  assert.deepEqual([...new Set(asked)], [8 * 1024 * 1024]);
});

Deno.test("headers that do not parse harm nobody", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  const socket = connect(world.server.port, "127.0.0.1");
  const bad = "NATS/1.0\r\nbad name: x\r\n\r\n";
  const publish = `HPUB marmot-change-log-1.users ${bad.length} ${bad.length + 1}\r\n${bad}x\r\n`;
  socket.write(`CONNECT {"headers":true,"verbose":false}\r\n${publish}PING\r\n`);
  for await (const answer of socket) if (String(answer).includes("PONG")) break;
  await publishAll(streams, 1, ["a"]);
  const stored = await take(streams, { shard: 1, from: 1, count: 2 });
  assert.deepEqual(stored.map(({ format }) => format), [null, "contract"]);
  assert.deepEqual(await streams.messageAt(1, 1), stored[0]);
});

Deno.test("the time of a message has nine digits whatever the server cut", () => {
  const times = {
    "2026-11-23T18:01:49Z": "2026-11-23T18:01:49.000000000Z",
    "2026-11-23T18:01:49.1Z": "2026-11-23T18:01:49.100000000Z",
    "2026-11-23T18:01:49.123456789Z": "2026-11-23T18:01:49.123456789Z",
  };
  for (const [timestamp, expected] of Object.entries(times)) {
    const stored = { timestamp, seq: 1, subject: "s", header: headers(), data: new Uint8Array() };
    const { storedAt } = fetchedMessage(1, stored as unknown as Parameters<typeof fetchedMessage>[1]);
    assert.equal(storedAt, expected);
  }
});
