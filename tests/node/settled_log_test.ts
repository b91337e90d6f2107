import assert from "node:assert/strict";
import { Rollout } from "./rollout.ts";

Deno.test("at rest the change log holds one entry, which keeps its highest id, however the echoes came", async () => {
  using world = new Rollout({ nodes: 1, schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v)" });
  await world.rest();
  for (let id = 1; id <= 5; id++) {
    world.sql(1, `INSERT INTO t VALUES (${id}, 'x')`);
    await world.rest();
    assert.deepEqual(world.rows(1, "SELECT id, kind FROM __marmot__change_log"), [[id, 3]]);
  }
});
