/** What is said of the broker's promises, and when a node counts as lagging. */
import assert from "node:assert/strict";
import { BrokerPromises, judgeLag, sayPromises, shareOfKept } from "../../src/node/broker_promises.ts";
import type { HeldClaim } from "../../src/stream/node_claims.ts";
import type { StreamPromises } from "../../src/stream/stream_promises.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";
import { RecordedLog } from "../stream/server_world.ts";

const STREAM: StreamPromises = {
  name: "s",
  replicas: 1,
  storage: "file",
  isAcknowledgedEarly: false,
  whenFull: "drops the oldest",
  maxMessages: 1000,
  maxBytes: Infinity,
  maxAgeMs: Infinity,
  messages: 0,
  bytes: 0,
  firstSequence: 1,
  lastSequence: 0,
};
const LEASE_MS = 15_000;

class World {
  readonly time = new VirtualTime();
  readonly log = new RecordedLog();
  readonly stop = new AbortController();
  stream = STREAM;
  /** By node. */
  readonly cursors = new Map<bigint, number>();
  isAway = false;
  storedAtMs = this.time.nowMs;

  start(): void {
    const answer = <T>(value: () => T): Promise<T> =>
      this.isAway ? Promise.reject(new Error("the broker is away")) : Promise.resolve(value());
    const promises = new BrokerPromises({
      nodeId: 1n,
      hasSnapshots: true,
      streams: () => answer(() => [this.stream]),
      claims: () => answer(() => [...this.cursors].map(([nodeId, cursor]) => held(nodeId, cursor))),
      storedAtMs: () => answer(() => this.storedAtMs),
      leaseMs: () => answer(() => LEASE_MS),
      clock: new Life(this.time),
      random: () => 0.5,
      log: this.log,
    });
    void promises.run(this.stop.signal);
  }

  /** The stream moves to a last sequence; long enough passes for two looks. */
  async moveTo(lastSequence: number): Promise<void> {
    const messages = Math.min(lastSequence, STREAM.maxMessages);
    this.stream = { ...this.stream, lastSequence, messages, firstSequence: lastSequence - messages + 1 };
    await this.time.pass(3 * LEASE_MS);
  }

  warnings(): string[] {
    return this.log.lines.filter(({ level }) => level === "warn").map(({ event }) => event);
  }
}

function held(nodeId: bigint, cursor: number): HeldClaim {
  const texts = { life: "", host: "h", machine: "", path: "", file: "", since: "", version: "" };
  return { nodeId, revision: 1, claim: { ...texts, pid: 1, cursors: { s: cursor } } };
}

Deno.test("a node that lags past half of what a stream keeps is said once, and once more when it has caught up", async () => {
  const world = new World();
  world.cursors.set(1n, 0).set(2n, 0);
  world.start();
  await world.moveTo(400);
  assert.deepEqual(world.warnings(), []);
  world.cursors.set(1n, 600);
  await world.moveTo(600);
  await world.moveTo(620);
  assert.deepEqual(world.warnings(), ["a node lags: it has not read more than half of what a stream keeps"]);
  assert.deepEqual(world.log.lines.at(-1)?.fields, {
    node: 2n,
    host: "h",
    stream: "s",
    unread: 600,
    kept: "1000 messages",
  });
  world.cursors.set(1n, 620).set(2n, 200);
  await world.moveTo(621);
  assert.equal(world.log.count("a node has caught up"), 0, "about half is not yet near");
  world.cursors.set(2n, 600);
  await world.moveTo(621);
  assert.equal(world.log.count("a node has caught up"), 1);
});

Deno.test("how far the slowest node is behind is said once, as soon as another node is known", async () => {
  const text = "the slowest of the nodes that hold a claim is this far behind";
  const world = new World();
  world.cursors.set(1n, 1200);
  world.start();
  await world.moveTo(1200);
  assert.equal(world.log.count(text), 0, "this node alone tells nothing of others");
  world.cursors.set(2n, 900).set(3n, 1195);
  await world.moveTo(1200);
  const said = world.log.lines.filter(({ event }) => event === text);
  assert.deepEqual(said.map(({ level, fields }) => [level, fields]), [["info", {
    node: 2n,
    host: "h",
    stream: "s",
    unread: 300,
    kept: "1000 messages",
    stored: 1000,
    nodes: 3,
  }]]);
  world.cursors.set(2n, 1200).set(3n, 1000);
  await world.moveTo(1300);
  assert.equal(world.log.count(text), 1);
  assert.deepEqual(world.warnings(), []);
});

Deno.test("a node that missed what is gone is said to be left behind", async () => {
  const world = new World();
  world.cursors.set(1n, 10);
  world.start();
  await world.moveTo(1500);
  assert.deepEqual(world.warnings(), [
    "a node was left behind: messages that it has not read are gone from a stream",
  ]);
});

Deno.test("a stream that moves on between two renewals makes nobody lag", async () => {
  const world = new World();
  world.cursors.set(1n, 0);
  world.start();
  for (let last = 0; last < 50_000; last += 700) {
    // The node renews, then most of what the stream keeps is replaced before it renews again.
    world.cursors.set(1n, last);
    world.stream = { ...STREAM, lastSequence: last + 700, messages: 1000, firstSequence: last - 299 };
    await world.time.pass(LEASE_MS * 0.3);
  }
  assert.deepEqual(world.warnings(), []);
});

Deno.test("where age is the limit, the age of the first unread message counts", async () => {
  const world = new World();
  world.stream = { ...STREAM, maxMessages: Infinity, maxAgeMs: 1_000_000 };
  world.cursors.set(1n, 0);
  world.start();
  await world.moveTo(2);
  assert.deepEqual(world.warnings(), []);
  await world.time.pass(600_000);
  assert.deepEqual(world.warnings(), ["a node lags: it has not read more than half of what a stream keeps"]);
});

Deno.test("a broker that is away is waited for, and the promises are said once", async () => {
  const world = new World();
  world.isAway = true;
  world.start();
  await world.time.pass(10 * LEASE_MS);
  assert.deepEqual(world.log.lines.filter(({ level }) => level !== "debug"), []);
  world.isAway = false;
  await world.time.pass(10 * LEASE_MS);
  const said =
    "the broker keeps each stream on one server, up to these limits: a lost disk there loses what no node has";
  assert.equal(world.log.count(said), 1);
});

Deno.test("the share of what is kept takes the limit that is reached first", () => {
  const full = { ...STREAM, messages: 100, bytes: 1000, firstSequence: 1, lastSequence: 100 };
  assert.equal(shareOfKept(full, 100), 0);
  assert.equal(shareOfKept(full, 200), 0);
  assert.equal(shareOfKept(full, 50), 0.05);
  assert.equal(shareOfKept({ ...full, maxBytes: 1000 }, 50), 0.5);
  assert.equal(shareOfKept({ ...full, maxMessages: Infinity }, 0), 0);
  assert.equal(shareOfKept({ ...full, firstSequence: 12 }, 10), Infinity);
});

Deno.test("the states of a lag, and what leads from one to another", () => {
  assert.equal(judgeLag(0.5, "near"), "near");
  assert.equal(judgeLag(0.51, "near"), "lagging");
  assert.equal(judgeLag(0.4, "near"), "near");
  assert.equal(judgeLag(0.4, "lagging"), "lagging");
  assert.equal(judgeLag(0.4, "left-behind"), "lagging");
  assert.equal(judgeLag(0.3, "lagging"), "near");
  assert.equal(judgeLag(1, "lagging"), "lagging");
  assert.equal(judgeLag(Infinity, "near"), "left-behind");
});

Deno.test("settings that lose or hold up changes are warned of at start", () => {
  const log = new RecordedLog();
  const parts = { log, hasSnapshots: false };
  sayPromises([{ ...STREAM, replicas: 3 }, { ...STREAM, replicas: 3 }], parts);
  assert.deepEqual(log.lines.map(({ level, event }) => [level, event]), [
    ["info", "the broker keeps a copy of each stream on several servers, up to these limits"],
  ]);
  assert.deepEqual(log.lines[0]?.fields, {
    streams: 2,
    replicas: 3,
    messages: 1000,
    bytes: "none",
    ageSeconds: "none",
    whenFull: "drops the oldest",
    syncInterval: "not told to clients",
    lateNodes: "cannot catch up",
  });
  const count = (words: RegExp) =>
    log.lines.filter(({ level, event }) => level === "info" && words.test(event)).length;
  assert.equal(count(/power cut/), 0, "two other servers have it");
  sayPromises([STREAM, { ...STREAM, storage: "memory" }], parts);
  assert.equal(
    count(/^a power cut takes back what the broker has acknowledged and not synced to disk yet: /),
    1,
  );
  sayPromises([{ ...STREAM, storage: "memory" }], parts);
  assert.equal(count(/power cut/), 1, "what is in memory is never synced");
  sayPromises([{ ...STREAM, isAcknowledgedEarly: true }, { ...STREAM, whenFull: "refuses new ones" }], parts);
  assert.equal(log.lines.filter(({ level }) => level === "warn").length, 4);
});
