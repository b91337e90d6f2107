/** What a node does when one of its loops cannot go on. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { Node } from "../../src/node/node.ts";
import { silentLog } from "../../src/observability/log.ts";
import { MemoryServer, MemoryStreams } from "../simulation/memory_streams.ts";
import { Random } from "../simulation/random.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";

Deno.test("a loop that fails ends the node with its error, and does not leave it hanging", async () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-node-"));
  const path = join(folder, "node.db");
  const application = new DatabaseSync(path);
  application.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  const random = new Random(1);
  const time = new VirtualTime();
  const life = new Life(time);
  let isBroken = false;
  const replica = Replica.open(path, {
    nodeId: 1n,
    makeNodeId: () => 1n,
    readSeqMap: () => new Map(),
    nowMs: () => {
      if (isBroken) throw new Error("the clock is broken");
      return life.nowMs();
    },
    log: silentLog,
  });
  try {
    const node = new Node(replica, {
      clock: life,
      random: random.next,
      streams: new MemoryStreams(new MemoryServer(1, time, random), life),
      watchFiles: () => () => {},
      log: silentLog,
    }, { wireFormat: "batch", compress: false });
    let ended: unknown = "still running";
    node.run(new AbortController().signal).catch((error: unknown) => ended = error);
    await time.pass(100);
    application.exec("INSERT INTO t VALUES (1, 'published, and read back with a broken clock')");
    isBroken = true;
    await time.pass(1000);
    assert.ok(ended instanceof Error, String(ended));
    assert.equal(ended.message, "the clock is broken");
  } finally {
    replica.close();
    application.close();
    rmSync(folder, { recursive: true });
  }
});
