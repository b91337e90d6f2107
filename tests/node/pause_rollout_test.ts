/** Nodes that are paused at once for a migration, with writes on all of them meanwhile. */
import assert from "node:assert/strict";
import { beginPause, endPause } from "../../src/db/capture/pause.ts";
import { Connection } from "../../src/db/connection.ts";
import { Rollout } from "./rollout.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, code, v); CREATE INDEX by_code ON t (code);" +
  "INSERT INTO t VALUES (1, 'a', 'one'), (2, 'b', 'two'), (3, 'c', 'three'), (4, 'd', 'four')";
const MIGRATION = "BEGIN; DROP INDEX by_code; ALTER TABLE t DROP COLUMN code; COMMIT";

/** An operator's command beside a node. */
function command(world: Rollout, node: number, run: (connection: Connection) => unknown): void {
  const connection = new Connection(world.node(node).path);
  try {
    run(connection);
  } finally {
    connection.close();
  }
}

for (const order of [[1, 2], [2, 1]]) {
  Deno.test(`two nodes that are paused at once keep what was written on both, where node ${order[0]} ends first`, async () => {
    using world = new Rollout({ nodes: 2, schema: SCHEMA, shards: 1 });
    await world.rest();
    for (const node of order) command(world, node, (connection) => beginPause(connection, 1));
    const before = world.server.log(1).length;
    world.sql(1, `${MIGRATION}; UPDATE t SET v = 'of 1' WHERE id = 1; DELETE FROM t WHERE id = 3`);
    world.sql(
      2,
      `UPDATE t SET v = 'of 2' WHERE id = 2; INSERT INTO t (id, v) VALUES (5, 'five'); ${MIGRATION}`,
    );
    await world.time.pass(5000);
    assert.equal(world.server.log(1).length, before, "nothing is published in a pause");
    assert.deepEqual(world.rows(2, "SELECT v FROM t WHERE id = 1"), [["one"]], "nor applied");
    for (const node of order) {
      command(world, node, endPause);
      await world.time.pass(5000);
    }
    await world.converge();
    assert.deepEqual(world.rows(1, "SELECT id, v FROM t ORDER BY id"), [
      [1, "of 1"],
      [2, "of 2"],
      [4, "four"],
      [5, "five"],
    ]);
  });
}
