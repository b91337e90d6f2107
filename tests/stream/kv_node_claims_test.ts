/** Claims in a bucket of a real nats-server: who holds what, and when the server ends it. */
import assert from "node:assert/strict";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { MarmotError } from "../../src/errors.ts";
import { connect, type Connection } from "../../src/stream/connection.ts";
import { bucketName, KvNodeClaims, LEASE_MS } from "../../src/stream/kv_node_claims.ts";
import { decodeClaim, type NodeClaim } from "../../src/stream/node_claims.ts";
import { eventually } from "../support/change_streams_contract.ts";
import { NatsServer, type NatsServerOptions } from "../support/nats_server.ts";
import { RecordedLog } from "./server_world.ts";

const PREFIX = "marmot-changes";
const BUCKET = "marmot-changes-nodes";

function claimOf(life: string): NodeClaim {
  return {
    life,
    host: "host",
    machine: "machine",
    path: "/srv/app.db",
    file: "1:2",
    pid: 3,
    since: "2026-01-01T00:00:00.000Z",
    version: "1",
    cursors: { "marmot-changes-1": 4 },
  };
}

class World implements AsyncDisposable {
  readonly log = new RecordedLog();

  private constructor(readonly server: NatsServer, readonly connection: Connection) {}

  static async start(options: NatsServerOptions = {}, user = ""): Promise<World> {
    const server = await NatsServer.start(options);
    const signal = new AbortController().signal;
    const log = new RecordedLog();
    const urls = [server.url.replace("//", `//${user}`)];
    const connection = await connect({ urls, nodeId: 1n, log, signal, random: Math.random });
    return new World(server, connection);
  }

  claims({ leaseMs = LEASE_MS, replicas = 1 } = {}): KvNodeClaims {
    return new KvNodeClaims({
      connection: this.connection,
      streamPrefix: PREFIX,
      replicas,
      log: this.log,
      leaseMs,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close();
    await this.server[Symbol.asyncDispose]();
  }
}

Deno.test("a claim is taken once, replaced by whoever knows its revision, and given back by its holder", async () => {
  await using world = await World.start();
  const claims = world.claims();
  assert.equal(await claims.find(7n), undefined);
  const first = await claims.put(7n, claimOf("one"), undefined);
  assert.ok(first !== undefined);
  assert.equal(await claims.put(7n, claimOf("two"), undefined), undefined);
  assert.deepEqual(await claims.find(7n), { nodeId: 7n, claim: claimOf("one"), revision: first });
  const second = await claims.put(7n, claimOf("one"), first);
  assert.ok(second !== undefined && second > first);
  assert.equal(await claims.put(7n, claimOf("two"), first), undefined);
  await claims.release(7n, first);
  assert.equal((await claims.find(7n))?.revision, second, "an old revision gives nothing back");
  await claims.release(7n, second);
  assert.equal(await claims.find(7n), undefined);
  assert.ok(await claims.put(7n, claimOf("two"), undefined) !== undefined);
});

Deno.test("all claims are listed, without those that were given back", async () => {
  await using world = await World.start();
  const claims = world.claims();
  const largest = 18446744073709551615n;
  assert.deepEqual(await claims.all(), []);
  await claims.put(largest, claimOf("one"), undefined);
  const revision = await claims.put(2n, claimOf("two"), undefined);
  await claims.put(3n, claimOf("three"), undefined);
  await claims.release(2n, revision ?? 0);
  const held = await claims.all();
  assert.deepEqual(held.map(({ nodeId, claim }) => [nodeId, claim.life]).sort(), [
    [largest, "one"],
    [3n, "three"],
  ]);
});

Deno.test("the server ends a claim that is not renewed, and keeps one that is", async () => {
  await using world = await World.start();
  const claims = world.claims({ leaseMs: 1000 });
  await claims.put(1n, claimOf("silent"), undefined);
  let revision = await claims.put(2n, claimOf("renewed"), undefined);
  await eventually(async () => {
    revision = await claims.put(2n, claimOf("renewed"), revision);
    assert.ok(revision !== undefined, "a renewed claim expired");
    assert.equal(await claims.find(1n), undefined);
  });
  assert.ok(await claims.put(1n, claimOf("next"), undefined) !== undefined);
});

Deno.test("a bucket that exists keeps its lease, and one that was deleted is made anew", async () => {
  await using world = await World.start();
  assert.equal(await world.claims({ leaseMs: 3000 }).leaseMs(), 3000);
  const claims = world.claims();
  assert.equal(await claims.leaseMs(), 3000);
  const revision = await claims.put(1n, claimOf("one"), undefined);
  const manager = await jetstreamManager(world.connection.nats);
  await manager.streams.delete(`KV_${BUCKET}`);
  await assert.rejects(claims.put(1n, claimOf("one"), revision));
  assert.equal(await claims.leaseMs(), LEASE_MS);
  assert.ok(await claims.put(1n, claimOf("one"), undefined) !== undefined);
});

Deno.test("a bucket whose entries never expire is refused in words", async () => {
  await using world = await World.start();
  await new Kvm(jetstream(world.connection.nats)).create(BUCKET);
  await assert.rejects(
    world.claims().leaseMs(),
    (error) =>
      error instanceof MarmotError && error.code === "broker" &&
      /keeps its entries for ever/.test(error.message),
  );
});

Deno.test("with fewer servers than replicas the claims are kept with one, and that is said", async () => {
  await using world = await World.start();
  const claims = world.claims({ replicas: 3 });
  assert.equal(await claims.leaseMs(), LEASE_MS);
  assert.equal(world.log.lines.filter(({ level }) => level === "warn").length, 1);
});

Deno.test("a user who may not write to the bucket is told which permission is missing", async () => {
  const permissions = '{ publish: ["$JS.API.>", "_INBOX.>"], subscribe: [">"] }';
  const config = `authorization { users: [{ user: a, password: b, permissions: ${permissions} }] }`;
  await using world = await World.start({ config }, "a:b@");
  await assert.rejects(
    world.claims().put(1n, claimOf("one"), undefined),
    (error) =>
      error instanceof MarmotError && error.code === "broker" &&
      error.hint?.includes("$KV.marmot-changes-nodes.>") === true,
  );
});

Deno.test("every stream prefix has a bucket of its own", () => {
  assert.equal(bucketName("marmot-changes"), "marmot-changes-nodes");
  const names = ["a.b", "a:b", "a_b", "ä", "x$"].map(bucketName);
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[-\w]+$/);
  assert.ok(`KV_${bucketName("ü".repeat(100))}`.length <= 255);
});

Deno.test("a claim that anybody may have written is read without harm", () => {
  for (const text of ["", "null", "[]", "{", '{"pid":"x","cursors":[1],"life":7}']) {
    const claim = decodeClaim(text);
    assert.deepEqual([claim.life, claim.pid, claim.cursors], ["", 0, {}]);
  }
  assert.deepEqual(decodeClaim('{"cursors":{"a":1,"b":"x"}}').cursors, { a: 1 });
});
