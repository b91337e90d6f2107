/** What a real broker tells of its streams. */
import assert from "node:assert/strict";
import { silentLog } from "../../src/observability/log.ts";
import { connect } from "../../src/stream/connection.ts";
import { askForPromises } from "../../src/stream/stream_promises.ts";
import { publishAll } from "../support/change_streams_contract.ts";
import { ServerWorld } from "./server_world.ts";

Deno.test("the settings and the content of the streams of all shards are told, whoever made them", async () => {
  await using world = await ServerWorld.start();
  const naming = { streamPrefix: "marmot-changes", subjectPrefix: "marmot-change-log", compress: false };
  await world.administer(async (manager) => {
    await manager.streams.add({
      name: "marmot-changes-2",
      subjects: ["marmot-change-log-2", "marmot-change-log-2.*"],
      storage: "memory",
      max_msgs: -1,
      max_bytes: 5000,
      max_age: 60e9,
      discard: "new",
      metadata: { "marmot-shards": "2" },
    });
  });
  const streams = await world.open();
  await publishAll(streams, 1, ["a", "b"]);
  const signal = new AbortController().signal;
  const options = { urls: [world.server.url], nodeId: 1n, log: silentLog, signal, random: Math.random };
  const connection = await connect(options);
  try {
    const [first, second] = await askForPromises({ connection, naming, shards: 2 });
    const { bytes, ...rest } = first!;
    assert.ok(bytes > 0);
    assert.deepEqual(rest, {
      name: "marmot-changes-1",
      replicas: 1,
      storage: "file",
      isAcknowledgedEarly: false,
      whenFull: "drops the oldest",
      maxMessages: 1024,
      maxBytes: Infinity,
      maxAgeMs: Infinity,
      messages: 2,
      firstSequence: 1,
      lastSequence: 2,
    });
    assert.deepEqual(second, {
      name: "marmot-changes-2",
      replicas: 1,
      storage: "memory",
      isAcknowledgedEarly: false,
      whenFull: "refuses new ones",
      maxMessages: Infinity,
      maxBytes: 5000,
      maxAgeMs: 60_000,
      messages: 0,
      bytes: 0,
      firstSequence: 1,
      lastSequence: 0,
    });
  } finally {
    await connection.close();
  }
});
