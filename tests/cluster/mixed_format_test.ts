/**
 * The original's format on real processes: nodes that write it replicate with each other and with nodes that write
 * ours, and what they put into the streams is what the original puts there.
 */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { rowHash } from "../../src/wire/row_hash.ts";
import { shardOfHash } from "../../src/wire/routing.ts";
import { decodeRowEvent } from "../../src/wire/row_event_codec.ts";
import type { RowEventV06 } from "../../src/wire/batch.ts";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { HandPublisher } from "../support/hand_publisher.ts";
import { announcedRandom } from "../support/random.ts";
import { Writers, WRITERS_SCHEMA } from "../support/writers.ts";

const SHARDS = 8;
const LOCK_MS = 1_000;
const V06 = ["-wire-format", "v0.6"];
const SCHEMA = `
  CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, score REAL, avatar BLOB);
  CREATE TABLE settings (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
  CREATE TABLE notes (title TEXT, body TEXT);
  CREATE TABLE pairs (b TEXT, a INTEGER, v, PRIMARY KEY (b, a))`;
/** Names of the key columns. */
const KEYS: Readonly<Record<string, readonly string[]>> = {
  users: ["id"],
  settings: ["key"],
  notes: ["rowid"],
  pairs: ["b", "a"],
};

/** Everything that an application does to rows, on keys that only this node uses. */
function writeAllKinds(node: ClusterNode): void {
  const base = node.id * 1000;
  const mine = `of node ${node.id}`;
  node.sql(`
    INSERT INTO users VALUES (${base}, '${mine}', 1.0, x'00ff'), (${base + 1}, 'Żółć 🦫', -1e308, NULL),
      (${base + 2}, 'short-lived', NULL, x''), (-${base}, '', 5e-324, zeroblob(300));
    UPDATE users SET score = score * 2, name = name || '!' WHERE id = ${base};
    UPDATE users SET id = ${base + 100} WHERE id = ${base + 1};
    DELETE FROM users WHERE id = ${base + 2};
    INSERT INTO settings VALUES ('one ${mine}', 1), ('text ${mine}', '1'), ('real ${mine}', 1.0),
      ('null ${mine}', NULL), ('max ${mine}', 9223372036854775807);
    UPDATE settings SET key = 'moved ${mine}' WHERE key = 'one ${mine}';
    INSERT OR REPLACE INTO settings VALUES ('text ${mine}', x'31');
    DELETE FROM settings WHERE key = 'null ${mine}';
    INSERT INTO notes (rowid, title, body) VALUES (${base}, 'first ${mine}', NULL), (${base + 1}, NULL, '');
    UPDATE notes SET body = 'changed' WHERE rowid = ${base};
    UPDATE notes SET rowid = ${base + 500} WHERE rowid = ${base + 1};
    INSERT INTO pairs VALUES ('x ${mine}', 1, 'one'), ('x ${mine}', 2, 'two');
    UPDATE pairs SET a = a + 10 WHERE b = 'x ${mine}';
    BEGIN; INSERT INTO pairs VALUES ('y ${mine}', 1, 'gone'); DELETE FROM pairs WHERE b = 'y ${mine}'; COMMIT;`);
}

/** What `writeAllKinds` leaves, counted per node. */
function assertAllKindsArrived(cluster: Cluster): void {
  for (const node of cluster.nodes) {
    for (const [table, rows] of Object.entries({ users: 3, settings: 4, notes: 2, pairs: 2 })) {
      const found = node.application.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"];
      assert.equal(found, rows * cluster.nodes.length, `${table} of node ${node.id}`);
    }
  }
}

Deno.test("nodes that write the original's format replicate every kind of change with each other", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: V06 });
  for (const node of cluster.nodes) writeAllKinds(node);
  await cluster.converge();
  assertAllKindsArrived(cluster);
  for (const node of cluster.nodes) assert.equal(await node.stop(), 0);
});

Deno.test("messages in the original's format have no header and stand in the stream of their row's hash", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: V06 });
  await using hand = await HandPublisher.connect(cluster.server);
  for (const node of cluster.nodes) writeAllKinds(node);
  await cluster.converge();
  const origins = new Set<bigint>();
  const used = new Set<number>();
  for (const { shard, subject, headers, event } of await readAll(hand)) {
    assert.equal(subject, `marmot-change-log-${shard}`);
    assert.deepEqual(headers, []);
    const key = KEYS[event.table]!.map((name) => [name, event.row.get(name) ?? null] as const);
    assert.equal(shard, shardOfHash(rowHash(event.table, key), SHARDS), JSON.stringify(key, textOf));
    origins.add(event.origin);
    used.add(shard);
  }
  assert.deepEqual(origins, new Set([1n, 2n]));
  assert.ok(used.size > 3, `only the shards ${[...used]} are used`);
});

interface ReadMessage {
  readonly shard: number;
  readonly subject: string;
  readonly headers: readonly string[];
  readonly event: RowEventV06;
}

async function readAll(hand: HandPublisher): Promise<ReadMessage[]> {
  const messages: ReadMessage[] = [];
  for (let shard = 1; shard <= SHARDS; shard++) {
    const stream = `marmot-changes-${shard}`;
    const { state, config } = await hand.manager.streams.info(stream);
    assert.deepEqual(config.subjects, [`marmot-change-log-${shard}`]);
    for (let seq = 1; seq <= state.last_seq; seq++) {
      const stored = await hand.manager.streams.getMessage(stream, { seq });
      const event = decodeRowEvent(stored!.data);
      messages.push({ shard, subject: stored!.subject, headers: stored!.header?.keys() ?? [], event });
    }
  }
  return messages;
}

function textOf(_name: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}

for (const first of ["v0.6", "batch"]) {
  Deno.test(`a node that writes the original's format and one that writes ours read each other, ${first} first`, async () => {
    await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
    const formats = first === "v0.6" ? ["v0.6", "batch"] : ["batch", "v0.6"];
    for (const node of cluster.nodes) {
      await node.start({ flags: ["-wire-format", formats[node.id - 1] ?? ""] });
      writeAllKinds(node);
    }
    await cluster.converge();
    assertAllKindsArrived(cluster);
    // A node changes its format with a restart.
    await cluster.node(1).stop();
    cluster.node(1).sql("INSERT INTO settings VALUES ('while it was down', 1)");
    await cluster.node(1).start({ flags: ["-wire-format", formats[1] ?? ""] });
    cluster.node(1).sql("INSERT INTO settings VALUES ('in the other format', 2)");
    const content = await cluster.converge();
    assert.equal(content.get("settings")?.split("\n").length, 10);
  });
}

Deno.test("nodes that write the original's format lose nothing of their own rows when killed", async () => {
  const random = announcedRandom("v0.6 node killed");
  await using cluster = await Cluster.start({ nodes: 2, schema: WRITERS_SCHEMA, flags: V06 });
  await using writers = new Writers(cluster.nodes, { perNode: 1, random, sharedRows: false });
  for (let crash = 0; crash < 4; crash++) {
    const node = cluster.node(1 + (crash % 2));
    await writers.progress(10 + random.below(30));
    await node.kill();
    await writers.progress(random.below(10));
    await node.start();
  }
  await writers.progress(10);
  await writers.stop();
  await cluster.converge({ timeoutMs: 60_000 });
  assert.deepEqual(writers.findLoss(cluster), []);
});

Deno.test("a row that the original's format cannot carry is said, and its neighbours go on", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: SCHEMA,
    flags: V06,
    server: { maxPayloadBytes: 100_000 },
  });
  const [writing, reading] = [cluster.node(1), cluster.node(2)];
  writing.sql(`BEGIN;
    INSERT INTO settings VALUES ('before', 1), ('not UTF-8', CAST(x'c328' AS TEXT)), ('too large', zeroblob(200000)),
      ('behind', 2);
    COMMIT; INSERT INTO settings VALUES ('later', 3)`);
  await writing.waitForLog(/cannot publish a row.*not UTF-8/);
  await writing.waitForLog(/cannot publish a row.*larger than a message/);
  const names = () =>
    reading.application.prepare("SELECT key FROM settings ORDER BY key").all().map((row) => row["key"]);
  await waitUntil(() => names().length === 3, {
    timeoutMs: 10_000,
    what: () => `${names()}\n${writing.log}`,
  });
  assert.deepEqual(names(), ["before", "behind", "later"]);
  await waitUntil(() => writing.countPending() === 2, { timeoutMs: 10_000, what: () => writing.log });
  // Repaired, they go.
  writing.sql("UPDATE settings SET value = 'short' WHERE key IN ('not UTF-8', 'too large')");
  const content = await cluster.converge();
  assert.equal(content.get("settings")?.split("\n").length, 5);
});

Deno.test("a burst in the original's format does not trim what its own node has not read back", async () => {
  const flags = [...V06, "-shards", "1", "-max-log-entries", "40"];
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, flags });
  const node = cluster.node(1);
  // The application takes the lock again at once: the node can publish, and cannot apply what it reads back.
  node.sql(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 500)
    INSERT INTO settings SELECT 'key ' || x, x FROM c; BEGIN IMMEDIATE`);
  await delay(LOCK_MS);
  await node.kill();
  node.sql("COMMIT");
  await node.start();
  await node.untilPublished();
  assert.doesNotMatch(node.log, /stream stopped/);
});
