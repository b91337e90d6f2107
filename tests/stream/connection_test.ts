import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { MarmotError } from "../../src/errors.ts";
import { connectToNats } from "../../src/stream/socket_transport.ts";
import { eventually, message, publishAll } from "../support/change_streams_contract.ts";
import { NatsServer } from "../support/nats_server.ts";
import { ServerWorld } from "./server_world.ts";

Deno.test("a node that starts before NATS waits for it and says so once", async () => {
  await using world = await ServerWorld.start();
  await world.server.stop();
  const opening = world.open();
  await eventually(() => Promise.resolve(assert.ok(world.log.lines.length > 0)));
  await new Promise((resolve) => setTimeout(resolve, 500));
  await world.server.restart();
  const streams = await opening;
  assert.deepEqual(await publishAll(streams, 1, ["a"]), [1]);
  assert.equal(world.log.count("cannot connect to NATS, trying again"), 1);
});

Deno.test("waiting for NATS ends when the signal aborts", async () => {
  await using world = await ServerWorld.start();
  await world.server.stop();
  const stop = new AbortController();
  const opening = world.open({ signal: stop.signal });
  await eventually(() => Promise.resolve(assert.ok(world.log.lines.length > 0)));
  stop.abort(new Error("stopped by the test"));
  await assert.rejects(opening, { message: "stopped by the test" });
});

Deno.test("another server of the list is taken where the first one is down", async () => {
  await using world = await ServerWorld.start();
  await using down = await NatsServer.start();
  await down.stop();
  const streams = await world.open({ urls: [`${down.url},${world.server.url}`] });
  assert.deepEqual(await publishAll(streams, 1, ["a"]), [1]);
});

Deno.test("wrong credentials end the start, right ones do not", async () => {
  await using world = await ServerWorld.start({ auth: { user: "marmot", password: "p@ss:w/rd" } });
  assert.deepEqual(await publishAll(await world.open(), 1, ["a"]), [1]);
  const host = `127.0.0.1:${world.server.port}`;
  for (const url of [`nats://${host}`, `nats://marmot:secret@${host}`, `nats://secret@${host}`]) {
    await assert.rejects(world.open({ urls: [url] }), (error) => {
      assert.ok(error instanceof MarmotError && error.code === "broker" && error.hint !== undefined);
      assert.ok(!error.message.includes("secret"));
      return true;
    });
  }
});

Deno.test("an outage is logged once when it begins and once when it ends", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  for (const outages of [1, 2]) {
    await world.server.restart();
    await eventually(() => streams.describe(1));
    assert.equal(world.log.count("lost the connection to NATS"), outages);
    assert.equal(world.log.count("connected to NATS again"), outages);
  }
});

Deno.test("what is published during an outage fails at once and is not stored later", async () => {
  await using world = await ServerWorld.start();
  const streams = await world.open();
  await publishAll(streams, 1, ["a"]);
  await world.server.stop();
  await eventually(() => Promise.resolve(assert.equal(world.log.count("lost the connection to NATS"), 1)));
  const begun = performance.now();
  const outcomes = await Promise.allSettled(["b", "c"].map((text) => streams.publish(message(1, text))));
  assert.deepEqual(outcomes.map((outcome) => outcome.status), ["rejected", "rejected"]);
  assert.ok(performance.now() - begun < 500);
  await world.server.restart();
  await eventually(() => publishAll(streams, 1, ["d"]));
  assert.equal((await streams.describe(1)).lastSequence, 2);
});

Deno.test("the connection carries the node's number as its name", async () => {
  await using world = await ServerWorld.start({
    config: `system_account: SYS
accounts { SYS { users: [{ user: admin, password: admin }] }, APP { jetstream: enabled, users: [{ user: a, password: a }] } }`,
  });
  const host = `127.0.0.1:${world.server.port}`;
  await world.open({ urls: [`nats://a:a@${host}`], nodeId: 18446744073709551615n });
  const admin = await connectToNats({ servers: host, user: "admin", pass: "admin" });
  const answer = await admin.request("$SYS.REQ.SERVER.PING.CONNZ");
  await admin.close();
  const { data } = answer.json<{ data: { connections: { name?: string }[] } }>();
  assert.ok(data.connections.some(({ name }) => name === "marmot-node-18446744073709551615"));
});

// The try that is under way when the test stops it ends by itself within five seconds.
const abandonsTry = { sanitizeOps: false, sanitizeResources: false };

Deno.test("connections that are reset at once do no harm", abandonsTry, async () => {
  await using world = await ServerWorld.start();
  let resets = 0;
  const hostile = createServer((socket) => {
    resets++;
    socket.on("error", () => {});
    socket.once("data", () => socket.resetAndDestroy());
    socket.write(`INFO {"server_id":"x","version":"2.15.1","proto":1,"headers":true,"max_payload":9}\r\n`);
    if (resets % 2 === 0) socket.write("-ERR 'Secure Connection - TLS Required'\r\n");
    if (resets % 3 === 0) socket.resetAndDestroy();
  });
  await once(hostile.listen(0, "127.0.0.1"), "listening");
  const { port } = hostile.address() as { port: number };
  const stop = new AbortController();
  const opening = world.open({ urls: [`nats://127.0.0.1:${port}`], signal: stop.signal, random: () => 0 });
  await eventually(() => Promise.resolve(assert.ok(resets >= 2)));
  stop.abort(new Error("stopped by the test"));
  await assert.rejects(opening, { message: "stopped by the test" });
  hostile.close();
});
