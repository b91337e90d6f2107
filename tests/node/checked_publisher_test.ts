/** What a node does when others are always faster than its publishing with an expected sequence. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { Node } from "../../src/node/node.ts";
import { silentLog } from "../../src/observability/log.ts";
import { PublishError, type PublishRequest } from "../../src/stream/change_streams.ts";
import { MemoryServer, MemoryStreams } from "../simulation/memory_streams.ts";
import { Random } from "../simulation/random.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";

/** Streams on which another message comes between, so many times. */
class ContendedStreams extends MemoryStreams {
  refusals = 0;

  override publish(request: PublishRequest): Promise<number> {
    if (request.expectedLastSubjectSequence === undefined || this.refusals === 0) {
      return super.publish(request);
    }
    this.refusals--;
    return Promise.reject(new PublishError("refused", "wrong last sequence"));
  }
}

Deno.test("a node whose checked publishing is refused a hundred times gets it through within two seconds", async () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-checked-"));
  const application = new DatabaseSync(join(folder, "node.db"));
  application.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  const random = new Random(1);
  const time = new VirtualTime();
  const life = new Life(time);
  const server = new MemoryServer(1, time, random);
  const replica = Replica.open(join(folder, "node.db"), {
    nodeId: 1n,
    makeNodeId: () => 1n,
    readSeqMap: () => new Map(),
    nowMs: () => life.nowMs(),
    log: silentLog,
  });
  const streams = new ContendedStreams(server, life);
  streams.refusals = 100;
  try {
    replica.arm();
    application.exec("INSERT INTO t VALUES (1, 'captured before the node runs')");
    const ports = { clock: life, random: random.next, streams, log: silentLog };
    const node = new Node(replica, ports, { wireFormat: "batch", compress: false });
    void node.run(new AbortController().signal);
    await time.pass(2_000);
    assert.equal(streams.refusals, 0);
    assert.equal(server.log(1).length, 1);
    const pending = application.prepare("SELECT count(*) AS n FROM __marmot__change_log WHERE kind <> 3")
      .get();
    assert.equal(pending?.["n"], 0);
    // What it publishes now goes without a condition, and no refused message counts as not read back.
    application.exec("INSERT INTO t VALUES (2, 'afterwards')");
    await time.pass(100);
    assert.equal(server.log(1).length, 2);
  } finally {
    life.isOver = true;
    replica.close();
    application.close();
    rmSync(folder, { recursive: true });
  }
});
