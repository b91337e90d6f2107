/** Streams that keep little: a node must have read its own messages back before they are trimmed. */
import assert from "node:assert/strict";
import { Rollout } from "./rollout.ts";

const TABLES = 12;
const SCHEMA = Array.from({ length: TABLES }, (_, i) => `CREATE TABLE t${i} (id INTEGER PRIMARY KEY, v)`)
  .join("; ");

Deno.test("one transaction does not send more messages than the streams keep", async () => {
  const transactions = {
    "large rows": "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 40) " +
      "INSERT INTO t0 SELECT i, randomblob(300000) FROM n",
    "many tables": Array.from({ length: TABLES }, (_, i) => `INSERT INTO t${i} VALUES (1, 'x')`).join("; "),
  };
  for (const [name, sql] of Object.entries(transactions)) {
    for (const shards of [1, 2]) {
      using world = new Rollout({ nodes: 2, schema: SCHEMA, shards, maxMessages: 8 });
      await world.rest();
      const beganMs = world.time.nowMs;
      world.sql(1, `BEGIN; ${sql}; COMMIT`);
      await world.rest();
      // Nobody waits for messages that the stream has no room for.
      assert.ok(
        world.time.nowMs - beganMs < 5000,
        `${name}, ${shards} shards: ${world.time.nowMs - beganMs} ms`,
      );
      const held = ["t0", "t1"].map((table) => `SELECT count(*), sum(length(v)) FROM ${table}`);
      for (const sql of held) {
        assert.deepEqual(world.rows(2, sql), world.rows(1, sql), `${name}, ${shards} shards`);
      }
    }
  }
});
