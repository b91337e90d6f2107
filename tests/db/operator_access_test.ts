import assert from "node:assert/strict";
import { withOperatorAccess } from "../../src/db/operator/operator_access.ts";
import { MarmotError } from "../../src/errors.ts";
import { TestReplica } from "./test_replica.ts";

Deno.test("a database that stays locked is one sentence for the operator", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  world.arm();
  world.application.exec("BEGIN IMMEDIATE");
  assert.throws(
    () => withOperatorAccess(world.path, (connection) => connection.write(() => {}), 1),
    (error) =>
      error instanceof MarmotError && error.code === "database-busy" &&
      error.message === `Cannot use the database "${world.path}": another program holds its lock`,
  );
  world.application.exec("ROLLBACK");
  assert.equal(withOperatorAccess(world.path, (connection) => connection.write(() => 7), 1), 7);
});
