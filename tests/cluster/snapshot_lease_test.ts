/** A node that dies while it saves a snapshot by itself: its lease expires, and another node saves. */
import assert from "node:assert/strict";
import { Kvm } from "@nats-io/kv";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { silentLog } from "../../src/observability/log.ts";
import { connect } from "../../src/stream/connection.ts";
import { bucketName, KvNodeClaims } from "../../src/stream/kv_node_claims.ts";
import { Cluster, waitUntil } from "../support/cluster.ts";
import { entriesIn, temporaryFiles } from "../support/snapshots.ts";

/** Enough to be met at work. */
const ROWS = 30_000;
const SCHEMA = `CREATE TABLE t (id INTEGER PRIMARY KEY, v);
  WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS})
  INSERT INTO t SELECT i, hex(zeroblob(240)) || i FROM n`;
/** Longer than a node takes to start and to find that a snapshot is due: it must meet the lease of the dead one. */
const LEASE_MS = 10_000;
const STREAM_PREFIX = "marmot-changes";

Deno.test("a node that is killed while it saves keeps the others from it until its lease is over, and not longer", async () => {
  await using cluster = await Cluster.start({ nodes: 0, schema: SCHEMA });
  const store = join(cluster.folder, "store");
  const flags = ["-snapshot-url", pathToFileURL(store).href];
  const [dying, living] = [1, 2].map((id) =>
    cluster.addNode({ schema: SCHEMA, flags, hasSnapshots: true }, id)
  );
  assert.ok(dying && living);
  const { signal } = new AbortController();
  const urls = [cluster.server.url];
  const connection = await connect({ urls, nodeId: 0n, log: silentLog, signal, random: Math.random });
  await using _end = { [Symbol.asyncDispose]: () => connection.close() };
  const bucket = { connection, streamPrefix: STREAM_PREFIX, replicas: 1, log: silentLog, leaseMs: LEASE_MS };
  // Nodes keep the lease of a bucket that is there.
  assert.equal(await new KvNodeClaims(bucket).leaseMs(), LEASE_MS);
  const claims = await new Kvm(connection.nats).open(bucketName(STREAM_PREFIX));

  await dying.start();
  const deadlineMs = Date.now() + 30_000;
  while (temporaryFiles(dying.path).length === 0) {
    assert.ok(Date.now() < deadlineMs, dying.log);
    await delay(1);
  }
  await dying.kill();
  assert.doesNotMatch(dying.log, /snapshot saved/);
  const lease = await claims.get("save-snapshot");
  assert.deepEqual(lease?.json(), { holder: "1" });

  await living.start();
  await living.waitForLog(/INFO {2}snapshot saved/, { timeoutMs: 2 * LEASE_MS });
  const begun = /^(\S+) INFO {2}saving a snapshot/m.exec(living.log)?.[1] ?? "";
  const heldMs = new Date(begun).getTime() - lease.created.getTime();
  assert.ok(heldMs >= LEASE_MS - 100, `the lease was held for ${heldMs} ms`);
  assert.deepEqual((await entriesIn(store)).map(({ nodeId }) => nodeId), [2n]);

  await dying.start();
  assert.deepEqual(temporaryFiles(dying.path), []);
  dying.sql("INSERT INTO t VALUES (-1, 'back again')");
  const arrived = living.application.prepare("SELECT 1 FROM t WHERE id = -1");
  await waitUntil(() => arrived.get() !== undefined, { timeoutMs: 20_000, what: () => living.log });
});
