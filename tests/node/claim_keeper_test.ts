/** Who may go on as a node, on virtual time. */
import assert from "node:assert/strict";
import { MarmotError } from "../../src/errors.ts";
import { silentLog } from "../../src/observability/log.ts";
import { ClaimKeeper } from "../../src/node/claim_keeper.ts";
import { decideOnRival, type Self } from "../../src/node/claim_policy.ts";
import type { HeldClaim } from "../../src/stream/node_claims.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";
import { LEASE_MS, MemoryClaims } from "./memory_claims.ts";

const NODE = 7n;

interface Process {
  readonly self: Self;
  readonly keeper: ClaimKeeper;
  readonly life: Life;
  /** What `take` came to; undefined while it waits. */
  taken: { readonly rival: HeldClaim | undefined } | undefined;
  /** How `keep` ended; undefined while it goes on. */
  end: { readonly error: unknown } | undefined;
  /** An operator's stop. */
  readonly stop: AbortController;
}

class World {
  readonly time = new VirtualTime();
  readonly claims = new MemoryClaims(this.time);
  readonly #alive = new Set<number>();
  #pids = 100;

  /** Starts a process on a machine's file, and lets it take and keep the claim. */
  start(
    { machine = "a", path = "/db", nodeId = NODE }: { machine?: string; path?: string; nodeId?: bigint } = {},
  ) {
    const pid = ++this.#pids;
    this.#alive.add(pid);
    const life = new Life(this.time);
    const isAlive = (other: number) => other !== pid && this.#alive.has(other);
    const self = {
      machine: { host: machine, identity: machine, pid, life: `life ${pid}`, isAlive },
      path,
      file: "1:2",
      version: "1",
    };
    const parts = { claims: this.claims, nodeId, self, cursors: () => ({ s: 3 }), clock: life };
    const keeper = new ClaimKeeper({ ...parts, random: () => 0.5, log: silentLog });
    const process: Process = {
      self,
      keeper,
      life,
      taken: undefined,
      end: undefined,
      stop: new AbortController(),
    };
    const run = async () => {
      const rival = await keeper.take(process.stop.signal);
      process.taken = { rival };
      if (rival) return;
      await keeper.keep(
        process.stop.signal,
        (signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve())),
      );
      process.end = { error: undefined };
    };
    run().catch((error) => process.end = { error });
    return process;
  }

  async find(): Promise<HeldClaim | undefined> {
    let held: HeldClaim | undefined;
    void this.claims.find(NODE).then((found) => held = found);
    await this.time.pass(1);
    return held;
  }

  /** As SIGKILL: the process does nothing any more, and the broker is not told. */
  kill(process: Process): void {
    process.life.isOver = true;
    this.#alive.delete(process.self.machine.pid);
  }
}

/** Whether the process holds the claim and goes on. */
function isUp(process: Process): boolean {
  return process.taken !== undefined && process.taken.rival === undefined && process.end === undefined;
}

Deno.test("a claim is renewed for as long as the node runs, and carries its cursors", async () => {
  const world = new World();
  const node = world.start();
  await world.time.pass(20 * LEASE_MS);
  assert.ok(isUp(node));
  assert.equal(world.claims.holderOf(NODE), node.self.machine.life);
  assert.deepEqual((await world.find())?.claim.cursors, { s: 3 });
});

Deno.test("a clean stop gives the claim back at once", async () => {
  const world = new World();
  const node = world.start();
  await world.time.pass(10);
  node.stop.abort();
  await world.time.pass(10);
  assert.deepEqual(node.end, { error: undefined });
  assert.equal(world.claims.holderOf(NODE), undefined);
});

Deno.test("another machine is told who holds the id as soon as that node has shown that it is alive", async () => {
  const world = new World();
  const holder = world.start();
  await world.time.pass(10);
  const second = world.start({ machine: "b", path: "/copy" });
  await world.time.pass(LEASE_MS / 2);
  assert.equal(second.taken?.rival?.claim.pid, holder.self.machine.pid);
  assert.ok(isUp(holder));
});

Deno.test("the same machine and file takes its claim back at once after a crash", async () => {
  const world = new World();
  const crashed = world.start();
  await world.time.pass(10);
  world.kill(crashed);
  const restarted = world.start();
  await world.time.pass(10);
  assert.ok(isUp(restarted));
  assert.equal(world.claims.holderOf(NODE), restarted.self.machine.life);
});

Deno.test("a file that moved to another machine after a crash waits for the lease, and is not refused", async () => {
  const world = new World();
  const crashed = world.start();
  await world.time.pass(10);
  world.kill(crashed);
  const moved = world.start({ machine: "b" });
  await world.time.pass(LEASE_MS - 1000);
  assert.equal(moved.taken, undefined);
  await world.time.pass(2000);
  assert.ok(isUp(moved));
});

Deno.test("a second process on one file is refused, whatever id it is given", async () => {
  for (const nodeId of [NODE, 8n]) {
    const world = new World();
    const holder = world.start();
    await world.time.pass(10);
    const second = world.start({ nodeId });
    await world.time.pass(LEASE_MS);
    assert.equal(second.taken?.rival?.nodeId, NODE);
    assert.ok(isUp(holder));
  }
});

Deno.test("a node goes on while the broker is away, and takes its expired claim back", async () => {
  const world = new World();
  const node = world.start();
  await world.time.pass(10);
  world.claims.isAway = true;
  await world.time.pass(3 * LEASE_MS);
  assert.ok(isUp(node));
  assert.equal(world.claims.holderOf(NODE), undefined);
  world.claims.isAway = false;
  await world.time.pass(LEASE_MS);
  assert.ok(isUp(node));
  assert.equal(world.claims.holderOf(NODE), node.self.machine.life);
});

Deno.test("a node whose expired claim was taken by another stops and says by whom", async () => {
  const world = new World();
  // Halted: its process lives, but does nothing.
  const halted = world.start();
  await world.time.pass(10);
  halted.life.isOver = true;
  const other = world.start({ machine: "b", path: "/copy" });
  await world.time.pass(2 * LEASE_MS);
  assert.ok(isUp(other));
  halted.life.isOver = false;
  // What it slept for is long past: it looks at once.
  const renewing = halted.keeper.keep(
    new AbortController().signal,
    (signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve())),
  );
  let error: unknown;
  renewing.catch((reason) => error = reason);
  await world.time.pass(LEASE_MS);
  assert.ok(error instanceof MarmotError && error.code === "identity");
  assert.match(error.message, /^Cannot go on as node 7: the id is held by process 102 on host "b"/);
  assert.ok(isUp(other), "it must not be disturbed");
});

Deno.test("a renewal or a taking whose answer is lost is recognised as one's own", async () => {
  const world = new World();
  world.claims.losesNextAnswer = true;
  const node = world.start();
  await world.time.pass(1000);
  assert.ok(isUp(node));
  for (let renewals = 0; renewals < 5; renewals++) {
    world.claims.losesNextAnswer = true;
    await world.time.pass(LEASE_MS);
    assert.ok(isUp(node));
    assert.equal(world.claims.holderOf(NODE), node.self.machine.life);
  }
});

Deno.test("of many processes that start at once on copies of one file exactly one gets the id", async () => {
  const world = new World();
  const all = Array.from({ length: 8 }, (_, i) => world.start({ machine: `m${i}` }));
  await world.time.pass(2 * LEASE_MS);
  assert.equal(all.filter(isUp).length, 1);
  assert.ok(all.every((node) => isUp(node) || node.taken?.rival !== undefined));
});

Deno.test("an id by flag is refused, a copied file may take another, a file in use may not", () => {
  const world = new World();
  const { self } = world.start();
  const claim = {
    life: "x",
    host: "h",
    machine: "b",
    path: "/db",
    file: "1:2",
    pid: 1,
    since: "",
    version: "",
    cursors: {},
  };
  assert.equal(decideOnRival(claim, self, true), "refuse");
  assert.equal(decideOnRival(claim, self, false), "new-id");
  assert.equal(decideOnRival({ ...claim, machine: "a" }, self, false), "refuse");
});

Deno.test("a node is not disturbed by the claim of its own earlier life in a broker that was put back", async () => {
  const world = new World();
  const crashed = world.start();
  await world.time.pass(10);
  const before = await world.find();
  world.kill(crashed);
  const node = world.start();
  await world.time.pass(1000);
  assert.ok(before !== undefined && isUp(node));
  world.claims.restore(before);
  await world.time.pass(LEASE_MS);
  assert.ok(isUp(node));
  assert.equal(world.claims.holderOf(NODE), node.self.machine.life);
});

Deno.test("a stop waits two seconds at most for a broker that says nothing", async () => {
  const world = new World();
  const node = world.start();
  await world.time.pass(10);
  world.claims.isSilent = true;
  await world.time.pass(LEASE_MS);
  node.stop.abort();
  await world.time.pass(2000);
  assert.deepEqual(node.end, { error: undefined });
});

Deno.test("a stop ends the waiting for another's claim", async () => {
  const world = new World();
  const holder = world.start();
  await world.time.pass(10);
  world.kill(holder);
  const waiting = world.start({ machine: "b" });
  await world.time.pass(1000);
  const reason = new Error("stopped");
  waiting.stop.abort(reason);
  await world.time.pass(1000);
  assert.deepEqual(waiting.end, { error: reason });
});
