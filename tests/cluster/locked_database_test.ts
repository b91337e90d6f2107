/** An application that keeps the write lock of a node's database for long. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { Cluster, type ClusterNode } from "../support/cluster.ts";
import { WRITERS_SCHEMA } from "../support/writers.ts";

const LOCK_MS = 30_000;
const REMOTE_ROWS = 2_000;
/** A client whose event loop stands still is given up within two of these. */
const SERVER = { config: 'ping_interval: "1s"\nping_max: 1' };

Deno.test("remote changes wait for a write lock of thirty seconds: the node lives, says so once, applies them", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA, server: SERVER });
  const [writing, locked] = [cluster.node(1), cluster.node(2)];
  locked.sql("BEGIN IMMEDIATE; INSERT INTO t (id, v) VALUES (1, 'of the application')");
  const heldAt = performance.now();
  writing.sql(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${REMOTE_ROWS})
    INSERT INTO t (id, v) SELECT 1000 + x, 'remote' FROM c`);
  await writing.untilPublished({ timeoutMs: 10_000 });
  assert.equal(countRows(locked), 1);
  await locked.waitForLog(/ WARN {2}an application holds the database's write lock/);
  assert.equal(countRows(locked), 1);
  await delay(Math.max(0, LOCK_MS - (performance.now() - heldAt)));
  assert.doesNotMatch(locked.log, /write lock is free again/);
  locked.sql("COMMIT");
  await cluster.converge();
  assert.equal(countRows(locked), REMOTE_ROWS + 1);
  await locked.waitForLog(
    / INFO {2}the database's write lock is free again, remote changes are applied seconds=(29|3\d)/,
  );
  assert.equal(locked.log.match(/holds the database's write lock/g)?.length, 1);
  assert.doesNotMatch(locked.log, /lost the connection/);
  assert.equal(await locked.stop(), 0);
});

function countRows(node: ClusterNode): number {
  return Number(node.application.prepare("SELECT count(*) AS n FROM t").get()?.["n"]);
}
