import type { StreamConfig } from "@nats-io/jetstream";
import assert from "node:assert/strict";
import { MarmotError } from "../../src/errors.ts";
import { streamConfigV06 } from "../../src/stream/stream_config.ts";
import { publishAll, take, textsOf } from "../support/change_streams_contract.ts";
import { ServerWorld } from "./server_world.ts";

const naming = { streamPrefix: "marmot-changes", subjectPrefix: "marmot-change-log", compress: false };

/** Streams as the original leaves them. */
async function makeOriginalStreams(world: ServerWorld, shards: number): Promise<void> {
  await world.administer(async (manager) => {
    for (let shard = 1; shard <= shards; shard++) {
      const config = streamConfigV06({ naming, shards, replicas: 1, maxLogEntries: 500 }, shard);
      await manager.streams.add(config as unknown as StreamConfig);
    }
  });
}

async function publishRaw(world: ServerWorld, subject: string): Promise<void> {
  await world.administer(async (manager) => {
    await manager.jetstream().publish(subject, "from the original");
  });
}

/** Servers before 2.10 drop it: there the number of shards is known once there are messages. */
async function keepsMetadata(world: ServerWorld): Promise<boolean> {
  const { config } = await world.administer((manager) => {
    return manager.streams.add({ name: "probe", subjects: ["probe"], metadata: { probe: "1" } });
  }).catch(() => ({ config: { metadata: undefined } }));
  return config.metadata?.["probe"] === "1";
}

function refusal(code: string, ...words: string[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof MarmotError, String(error));
    assert.equal(error.code, code);
    for (const word of words) assert.ok(error.message.includes(word), `${word}: ${error.message}`);
    return true;
  };
}

Deno.test("a node with another number of shards is refused, and both numbers are named", async () => {
  await using world = await ServerWorld.start();
  await publishAll(await world.open({ shards: 3 }), 1, ["a"]);
  await assert.rejects(world.open({ shards: 2 }), refusal("usage", "shards = 2", "shards = 3"));
  await assert.rejects(world.open({ shards: 4 }), refusal("usage", "shards = 4", "shards = 3"));
  await assert.rejects(world.open({ shards: 4, wireFormat: "v0.6" }), refusal("usage", "shards = 3"));
  await world.open({ shards: 3 });
  await world.open({ shards: 2, streamPrefix: "other", subjectPrefix: "other-log" });
});

Deno.test("nodes that start at once make the streams together", async () => {
  await using world = await ServerWorld.start();
  const nodes = await Promise.all([1n, 2n, 3n, 4n].map((nodeId) => world.open({ nodeId, shards: 4 })));
  await publishAll(nodes[0]!, 4, ["a"]);
  assert.deepEqual(textsOf(await take(nodes[3]!, { shard: 4, from: 1, count: 1 })), ["a"]);
});

Deno.test("of nodes that start at once with different numbers of shards only one number is taken", async () => {
  await using world = await ServerWorld.start();
  if (!await keepsMetadata(world)) return;
  const counts = [2, 3, 2, 3];
  const outcomes = await Promise.allSettled(counts.map((shards) => world.open({ shards })));
  const taken = new Set(counts.filter((_, index) => outcomes[index]!.status === "fulfilled"));
  assert.equal(taken.size, 1);
});

Deno.test("streams of the original keep their settings and get the subjects of tables", async () => {
  await using world = await ServerWorld.start();
  await makeOriginalStreams(world, 2);
  await publishRaw(world, "marmot-change-log-1");
  const streams = await world.open({ maxLogEntries: 9 });
  await publishAll(streams, 1, ["a"]);
  const [original, own] = await take(streams, { shard: 1, from: 1, count: 2 });
  assert.deepEqual([original?.format, original?.subject], [null, "marmot-change-log-1"]);
  assert.deepEqual([own?.format, own?.subject], ["contract", "marmot-change-log-1.users"]);
  const { config } = await world.administer((manager) => manager.streams.info("marmot-changes-1"));
  assert.deepEqual(config.subjects, ["marmot-change-log-1", "marmot-change-log-1.*"]);
  if (await keepsMetadata(world)) assert.equal(config.metadata?.["marmot-shards"], "2");
  assert.equal(config.max_msgs, 500);
});

Deno.test("streams of the original that hold messages decide the number of shards", async () => {
  await using world = await ServerWorld.start();
  await makeOriginalStreams(world, 4);
  await publishRaw(world, "marmot-change-log-2");
  await assert.rejects(world.open({ shards: 2 }), refusal("usage", "shards = 2", "shards = 4"));
  await assert.rejects(world.open({ shards: 8, wireFormat: "v0.6" }), refusal("usage", "shards = 4"));
  await world.open({ shards: 4 });
});

Deno.test("the original's format leaves streams as the original makes them", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open({ wireFormat: "v0.6" });
  const payload = new TextEncoder().encode("row");
  await streams.publish({ shard: 1, table: null, format: null, payload });
  const { config, message } = await world.administer(async (manager) => ({
    config: (await manager.streams.info("marmot-changes-1")).config,
    message: await manager.streams.getMessage("marmot-changes-1", { seq: 1 }),
  }));
  assert.deepEqual(config.subjects, ["marmot-change-log-1"]);
  assert.equal(config.metadata?.["marmot-shards"], undefined);
  assert.deepEqual([...message!.header], []);
});

Deno.test("a subject that another stream owns is refused, and the stream is named", async () => {
  const orders = { name: "orders", subjects: ["marmot-change-log-2.x"] };
  for (const prepare of [() => Promise.resolve(), (world: ServerWorld) => makeOriginalStreams(world, 2)]) {
    await using world = await ServerWorld.start();
    await world.administer((manager) => manager.streams.add(orders));
    await prepare(world);
    await assert.rejects(
      world.open(),
      refusal("usage", '"orders"', '"marmot-changes-2"', '"marmot-change-log-2.*"'),
    );
  }
});

Deno.test("compressed streams beside plain ones are refused", async () => {
  await using world = await ServerWorld.start();
  await world.open();
  await assert.rejects(world.open({ compress: true }), refusal("usage", '"marmot-changes-1"'));
});

Deno.test("a stream of our name with another subject is refused", async () => {
  await using world = await ServerWorld.start();
  await world.open();
  const other = world.open({ subjectPrefix: "other" });
  await assert.rejects(other, refusal("usage", "other-1", "marmot-change-log-1"));
});

Deno.test("more replicas than servers are refused", async () => {
  await using world = await ServerWorld.start();
  await assert.rejects(world.open({ replicas: 3 }), refusal("usage", "3 replicas"));
});

Deno.test("a server without JetStream is refused", async () => {
  await using world = await ServerWorld.start({ jetStream: false });
  await assert.rejects(world.open(), refusal("broker", "JetStream is not enabled"));
});

Deno.test("a user without rights on JetStream is refused", async () => {
  await using world = await ServerWorld.start({
    config: `authorization { users: [{ user: a, password: a, permissions: { publish: ["x"] } }] }`,
  });
  const urls = [`nats://a:a@127.0.0.1:${world.server.port}`];
  await assert.rejects(world.open({ urls }), refusal("broker", "Cannot set up the streams"));
});
