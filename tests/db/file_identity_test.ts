/** The database's file: another one under its name, and a copy of it. */
import assert from "node:assert/strict";
import { copyFileSync, renameSync } from "node:fs";
import { OTHER_ID, OWN_ID, TestReplica } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY)";

Deno.test("a database whose file was replaced or removed under a running node is refused", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.replica.assertSameFile();
  renameSync(world.path, `${world.path}.old`);
  assert.throws(() => world.replica.assertSameFile(), {
    code: "database",
    message: /was replaced or removed/,
  });
  copyFileSync(`${world.path}.old`, world.path);
  assert.throws(() => world.replica.assertSameFile(), {
    code: "database",
    message: /was replaced or removed/,
  });
});

Deno.test("a copied file that is started without a node id takes a new one, and knows where it came from", () => {
  using world = new TestReplica(SCHEMA);
  assert.equal(world.replica.nodeId, OWN_ID);
  assert.equal(world.reopen({ nodeId: undefined }).nodeId, OWN_ID, "the same file keeps its id");
  const lastRun = world.replica.run;
  world.replica.close();
  world.application.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  world.application.close();
  copyFileSync(world.path, `${world.path}.copy`);
  renameSync(`${world.path}.copy`, world.path);
  const copy = world.reopen({ nodeId: undefined });
  assert.notEqual(copy.nodeId, OWN_ID);
  const parents = copy.connection.statement("SELECT value FROM __marmot__meta WHERE name = 'parents'").get()
    ?.[0];
  assert.deepEqual(JSON.parse(String(parents)), [[OWN_ID.toString(), 0, lastRun]]);
});

Deno.test("an id is on record once it is certain, and one that was refused leaves nothing behind", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const { run } = world.replica;
  const meta = () =>
    world.rows("SELECT value FROM __marmot__meta WHERE name IN ('node_id', 'parents') ORDER BY name");
  assert.deepEqual(meta(), [[OWN_ID.toString()], ["[]"]]);
  world.reopen({ nodeId: OTHER_ID, isIdProvisional: true });
  assert.deepEqual(meta(), [[OWN_ID.toString()], ["[]"]]);
  world.replica.keepNodeId();
  assert.deepEqual(meta(), [[OTHER_ID.toString()], [JSON.stringify([[OWN_ID.toString(), 0, run]])]]);
  assert.equal(world.reopen({ nodeId: undefined, isIdProvisional: true }).nodeId, OTHER_ID);
});
