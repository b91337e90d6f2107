/** What a node says of its broker, on real processes. */
import assert from "node:assert/strict";
import { shortenLease } from "../support/claims.ts";
import { Cluster } from "../support/cluster.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";

Deno.test("a node says what the broker keeps, and who is about to miss some of it", async () => {
  const flags = ["-shards", "1", "-max-log-entries", "20"];
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags, isStarted: false });
  await shortenLease(cluster.server.url);
  for (const node of cluster.nodes) await node.start();
  const [writer, slow] = [cluster.node(1), cluster.node(2)];
  await writer.waitForLog(
    /INFO {2}the broker keeps each stream on one server, up to these limits: .* streams=1 replicas=1 messages=20 /,
  );
  await writer.waitForLog(/INFO {2}a power cut takes back what the broker has acknowledged and not synced/);
  await writer.waitForLog(
    /INFO {2}the slowest of the nodes that hold a claim is this far behind node=\d .* unread=0 kept="20 messages" stored=0 nodes=2\n/,
  );
  // Its application keeps the write lock: the node is there, but can apply nothing.
  slow.sql("BEGIN IMMEDIATE");
  for (let id = 1; id <= 14; id++) {
    writer.sql(`INSERT INTO t VALUES (${id}, 'one message each')`);
    await writer.untilPublished({ timeoutMs: 10_000 });
  }
  await writer.waitForLog(
    /WARN {2}a node lags: it has not read more than half of what a stream keeps node=2 /,
  );
  slow.sql("COMMIT");
  await writer.waitForLog(/INFO {2}a node has caught up node=2 /);
  assert.equal(writer.log.match(/a node lags/g)?.length, 1);
  await cluster.converge();
});
