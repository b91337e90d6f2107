/** Which shard a change goes to. */
import assert from "node:assert/strict";
import { Router } from "../../src/node/router.ts";
import { shardOfTable } from "../../src/wire/routing.ts";
import { TestReplica } from "../db/test_replica.ts";

Deno.test("a table that is renamed stays in the stream of its first name", () => {
  using world = new TestReplica("CREATE TABLE first (id INTEGER PRIMARY KEY)");
  world.arm();
  const router = new Router("batch", 64);
  assert.deepEqual(router.shardsOf(world.table("first")), [shardOfTable("first", 64)]);
  for (const [from, to] of [["first", "second"], ["second", "third"]]) {
    world.application.exec(`ALTER TABLE ${from} RENAME TO ${to}`);
    world.arm();
    assert.equal(router.shardOf(world.table(to ?? ""), [1n]), shardOfTable("first", 64));
  }
});
