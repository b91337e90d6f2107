/** Outages, crashes and halts on real processes, while applications write: nothing is lost, all nodes end equal. */
import assert from "node:assert/strict";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import type { Random } from "../simulation/random.ts";
import { announcedRandom } from "../support/random.ts";
import { Writers, WRITERS_SCHEMA } from "../support/writers.ts";

const OUTAGE_MS = 10_000;
const HALT_MS = 3_000;
const LOCK_MS = 3_000;
const CRASHES = 10;
const LARGEST_PAUSE_MS = 400;

/** Stops the writers, waits until all nodes hold the same, and compares it with what was committed. */
async function assertNothingLost(cluster: Cluster, writers: Writers): Promise<void> {
  await writers.stop();
  await cluster.converge({ timeoutMs: 60_000 });
  assert.deepEqual(writers.findLoss(cluster), []);
}

Deno.test("nats-server stopped for ten seconds under load costs nothing, and the applications write on", async () => {
  const random = announcedRandom("nats-server stopped");
  await using cluster = await Cluster.start({ nodes: 3, schema: WRITERS_SCHEMA });
  await using writers = new Writers(cluster.nodes, { perNode: 2, random });
  await writers.progress(50);
  await cluster.server.stop();
  const before = writers.all.map((writer) => writer.committed);
  await delay(OUTAGE_MS);
  for (const [i, writer] of writers.all.entries()) {
    assert.ok(writer.committed > (before[i] ?? 0) + 100, `writer ${writer.number} stood still`);
  }
  await cluster.server.restart();
  await writers.progress(50);
  await assertNothingLost(cluster, writers);
});

Deno.test("nats-server killed under load and started again costs nothing", async () => {
  const random = announcedRandom("nats-server killed");
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  await using writers = new Writers(cluster.nodes, { perNode: 2, random });
  for (let crash = 0; crash < 3; crash++) {
    await writers.progress(20 + random.below(60));
    await cluster.server.kill();
    await writers.progress(random.below(60));
    await cluster.server.restart();
  }
  await writers.progress(50);
  await assertNothingLost(cluster, writers);
});

Deno.test("a node killed at ten random moments while applications write on both loses nothing", async () => {
  const random = announcedRandom("node killed");
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  await using writers = new Writers(cluster.nodes, { perNode: 2, random });
  await writers.progress(10);
  for (let crash = 0; crash < CRASHES; crash++) {
    const node = cluster.node(1 + random.below(2));
    // Half of the crashes hit a node that replicates, half one that is still starting.
    await delay(random.below(LARGEST_PAUSE_MS));
    await node.kill();
    await delay(random.below(LARGEST_PAUSE_MS));
    await node.start({ isAwaited: random.below(2) === 0 });
  }
  await writers.progress(10);
  await assertNothingLost(cluster, writers);
});

Deno.test("nodes that start long before nats-server does replicate what was written meanwhile", async () => {
  const random = announcedRandom("late nats-server");
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA, isStarted: false });
  await cluster.server.stop();
  for (const node of cluster.nodes) await node.start({ isAwaited: false });
  for (const node of cluster.nodes) await node.waitForLog(/WARN {2}cannot connect to NATS, trying again/);
  await using writers = new Writers(cluster.nodes, { perNode: 2, random });
  await writers.progress(100);
  await cluster.server.restart();
  await writers.progress(20);
  await assertNothingLost(cluster, writers);
});

Deno.test("remote changes wait while the application holds the write lock, and come when it lets go", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  const [writing, locked] = [cluster.node(1), cluster.node(2)];
  const cursorOf = (node: ClusterNode) =>
    Number(node.application.prepare("SELECT sum(cursor) AS n FROM __marmot__stream").get()?.["n"] ?? 0);
  locked.sql("BEGIN IMMEDIATE; INSERT INTO t (id, v) VALUES (1, 'of the application')");
  const before = cursorOf(locked);
  for (let id = 100; id < 400; id++) writing.sql(`INSERT INTO t (id, v) VALUES (${id}, 'remote')`);
  await waitUntil(() => writing.countPending() === 0, { timeoutMs: 10_000, what: () => "not published" });
  await delay(LOCK_MS);
  assert.equal(cursorOf(locked), before);
  locked.sql("INSERT INTO t (id, v) VALUES (2, 'of the same transaction'); COMMIT");
  const content = await cluster.converge();
  assert.equal(content.get("t")?.split("\n").length, 302);
  for (const node of cluster.nodes) assert.ok(node.isRunning);
});

Deno.test("a node that was halted goes on where it was", async () => {
  const random = announcedRandom("node halted");
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  await using writers = new Writers(cluster.nodes, { perNode: 1, random });
  await writers.progress(20);
  cluster.node(2).pause();
  await delay(HALT_MS);
  cluster.node(2).resume();
  await writers.progress(20);
  await assertNothingLost(cluster, writers);
});

Deno.test("a node that was halted longer than NATS waits for it reads what it has missed", async () => {
  const random = announcedRandom("node halted and given up");
  // The server gives a silent client up after two pings.
  const server = { config: 'ping_interval: "500ms"\nping_max: 1' };
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA, server });
  await using writers = new Writers(cluster.nodes, { perNode: 1, random });
  await writers.progress(20);
  cluster.node(2).pause();
  await delay(HALT_MS);
  cluster.node(2).resume();
  await cluster.node(2).waitForLog(/connected to NATS again/);
  await writers.progress(20);
  await assertNothingLost(cluster, writers);
});

Deno.test("SIGTERM under load ends a node with exit code 0, and it goes on when it is started again", async () => {
  const random = announcedRandom("SIGTERM");
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA });
  await using writers = new Writers(cluster.nodes, { perNode: 2, random });
  for (let round = 0; round < 3; round++) {
    await writers.progress(20);
    const startedAt = performance.now();
    assert.equal(await cluster.node(1).stop(), 0);
    assert.ok(performance.now() - startedAt < 3_000, "stopping took too long");
    await cluster.node(1).start();
  }
  await assertNothingLost(cluster, writers);
});

Deno.test("a second signal ends a node at once that still waits for NATS", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: WRITERS_SCHEMA });
  const node = cluster.node(1);
  node.sql("INSERT INTO t (id, v) VALUES (0, 'acknowledged')");
  await cluster.converge();
  await cluster.server.pause();
  node.sql("INSERT INTO t (id, v) VALUES (1, 'not acknowledged')");
  const from = node.log.length;
  await node.waitForLog(/progress captured=2 /);
  process.kill(node.pid, "SIGTERM");
  await node.waitForLog(/stopping/, { from });
  process.kill(node.pid, "SIGINT");
  assert.equal(await node.waitForExit(2_000), 130);
  cluster.server.resume();
});

Deno.test("swaps and clashes of UNIQUE values on both nodes at once end equal", async () => {
  const random = announcedRandom("UNIQUE");
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: `CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT UNIQUE, seat INTEGER, UNIQUE (seat));
      WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 12)
        INSERT INTO person SELECT x, 'p' || x || '@x', x FROM c`,
  });
  const connections = cluster.nodes.map((node) => new DatabaseSync(node.path, { timeout: 10_000 }));
  try {
    for (let turn = 0; turn < 400; turn++) {
      for (const database of connections) clashOrSwap(database, random);
      if (turn % 4 === 0) await delay(2);
    }
  } finally {
    for (const database of connections) database.close();
  }
  const content = await cluster.converge();
  assert.ok((content.get("person") ?? "").length > 0);
  for (const node of cluster.nodes) {
    const checked = node.application.prepare("PRAGMA integrity_check").get();
    assert.equal(checked?.["integrity_check"], "ok");
  }
});

function clashOrSwap(database: DatabaseSync, random: Random): void {
  const [one, other] = [1 + random.below(12), 1 + random.below(12)];
  switch (random.below(4)) {
    case 0:
      // A swap, as an application does it: over a value that nobody has.
      database.exec("BEGIN IMMEDIATE");
      database.exec(
        `UPDATE person SET email = CASE id WHEN ${one} THEN 'b' ELSE 'a' END || '/moving' WHERE id IN (${one}, ${other})`,
      );
      database.exec(`UPDATE OR REPLACE person SET email = 'p${other}@x' WHERE id = ${one}`);
      database.exec(`UPDATE OR REPLACE person SET email = 'p${one}@x' WHERE id = ${other}`);
      database.exec("COMMIT");
      return;
    case 1:
      database.exec(`INSERT OR REPLACE INTO person VALUES (${one}, 'p${other}@x', ${1 + random.below(12)})`);
      return;
    case 2:
      database.exec(`INSERT OR IGNORE INTO person VALUES (${20 + one}, 'p${other}@x', ${20 + other})`);
      return;
    default:
      database.exec(`UPDATE OR REPLACE person SET seat = ${one} WHERE id = ${other}`);
  }
}
