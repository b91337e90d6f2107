/** What a node does when one of its loops cannot go on. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { Node } from "../../src/node/node.ts";
import { silentLog } from "../../src/observability/log.ts";
import { MemoryServer } from "../simulation/memory_server.ts";
import { MemoryStreams } from "../simulation/memory_streams.ts";
import { Random } from "../simulation/random.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";

interface World extends Disposable {
  readonly application: DatabaseSync;
  readonly node: Node;
  readonly server: MemoryServer;
  readonly time: VirtualTime;
  readonly streams: MemoryStreams;
}

/** A node on virtual time, not started. */
function makeWorld({ nowMs }: { nowMs?: (life: Life) => number } = {}): World {
  const folder = mkdtempSync(join(tmpdir(), "marmot-node-"));
  const path = join(folder, "node.db");
  const application = new DatabaseSync(path);
  application.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  const random = new Random(1);
  const time = new VirtualTime();
  const life = new Life(time);
  const server = new MemoryServer(1, time, random);
  const replica = Replica.open(path, {
    nodeId: 1n,
    makeNodeId: () => 1n,
    readSeqMap: () => new Map(),
    nowMs: () => nowMs ? nowMs(life) : life.nowMs(),
    log: silentLog,
  });
  const streams = new MemoryStreams(server, life);
  const world: World = {
    application,
    streams,
    server,
    time,
    node: new Node(replica, {
      clock: life,
      random: random.next,
      streams,
      log: silentLog,
    }, { wireFormat: "batch", compress: false }),
    [Symbol.dispose]: () => {
      life.isOver = true;
      replica.close();
      application.close();
      rmSync(folder, { recursive: true });
    },
  };
  return world;
}

Deno.test("a loop that fails ends the node with its error, and does not leave it hanging", async () => {
  let isBroken = false;
  using world = makeWorld({
    nowMs: (life) => {
      if (isBroken) throw new Error("the clock is broken");
      return life.nowMs();
    },
  });
  let ended: unknown = "still running";
  world.node.run(new AbortController().signal).catch((error: unknown) => ended = error);
  await world.time.pass(100);
  world.application.exec("INSERT INTO t VALUES (1, 'published, and read back with a broken clock')");
  isBroken = true;
  await world.time.pass(1000);
  assert.ok(ended instanceof Error, String(ended));
  assert.equal(ended.message, "the clock is broken");
});

Deno.test("a commit is published within milliseconds, also after an idle time", async () => {
  using world = makeWorld();
  void world.node.run(new AbortController().signal);
  for (const [id, idleMs] of [[1, 5000], [2, 3]] as const) {
    await world.time.pass(idleMs);
    world.application.exec(`INSERT INTO t VALUES (${id}, '')`);
    await world.time.pass(15);
    assert.equal(world.server.log(1).length, id);
  }
});

Deno.test("a node whose connection has broken now and then is as soon back as after the first time", async () => {
  using world = makeWorld();
  void world.node.run(new AbortController().signal);
  for (let breaks = 1; breaks <= 6; breaks++) {
    await world.time.pass(6000);
    world.streams.interrupt();
    await world.time.pass(60);
    const applied = world.node.statistics.echoed;
    world.application.exec(`INSERT INTO t VALUES (${breaks}, '')`);
    await world.time.pass(60);
    assert.equal(world.node.statistics.echoed, applied + 1, `after break ${breaks}`);
  }
});
