/** What becomes of messages that cannot be applied, and of a database whose Marmot tables are gone. */
import assert from "node:assert/strict";
import { removeMarmot } from "../../src/db/state/remove_marmot.ts";
import { TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE users (id INTEGER PRIMARY KEY, v)";

Deno.test("a table name with NUL is put into quarantine, and does not park the table of the name before it", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const outcome = world.apply("users\0x", [upsert(1n, "hostile")], { columns: ["id", "v"], key: [0] });
  assert.equal(outcome.quarantined, 1);
  world.reopen();
  world.arm();
  assert.deepEqual(world.replica.parkedTables(), []);
  assert.equal(world.rows("SELECT count(*) FROM __marmot__quarantine")[0]?.[0], 1);
});

Deno.test("tables of Marmot's that were removed under it end it with a sentence", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const other = world.open();
  removeMarmot(other.connection);
  other.close();
  assert.throws(() => world.arm(), { name: "MarmotError", code: "database", message: /were removed/ });
});
