import assert from "node:assert/strict";
import { TestReplica, upsert } from "../db/test_replica.ts";
import { runCommand } from "../support/command_run.ts";

const BOUNDS = { rows: 100, milliseconds: 1000 };

/** A table whose CHECK refuses the first of three messages. */
function makeParked(): TestReplica {
  const world = new TestReplica("CREATE TABLE Users (id INTEGER PRIMARY KEY, age CHECK (age > 0))");
  world.arm();
  world.apply("Users", [upsert(1n, -1n)]);
  world.apply("users", [upsert(2n, 2n)], { columns: ["id", "age"], key: [0] });
  world.apply("Users", [upsert(1n, 3n)]);
  return world;
}

Deno.test("marmot parked lists tables that wait: why, since where, and how much", async () => {
  using world = makeParked();
  const { output } = await runCommand(["parked", "-db-path", world.path]);
  assert.match(
    output,
    /^Users: 3 messages \(\d+ bytes\) wait, since sequence 1 of s\n {4}CHECK constraint failed: age > 0\n$/,
  );
  world.application.exec("INSERT INTO __marmot__resync VALUES ('old', 's', 1, 7, 0)");
  assert.match(
    (await runCommand(["parked", "-db-path", world.path])).output,
    /\nold: needs a new copy, 7 messages were lost to it since 1970-01-01T00:00:00.000Z\n$/,
  );
  const { parked } = JSON.parse((await runCommand(["parked", "-json", "-db-path", world.path])).output);
  assert.deepEqual([parked[0].table, parked[0].messages, parked[0].sequence], ["Users", 3, 1]);
  const shown = await runCommand(["parked", "show", "USERS", "-limit", "1", "-db-path", world.path]);
  assert.equal(
    shown.output,
    "sequence 1 of s, of node 2\n  why: CHECK constraint failed: age > 0\n  1 event of table Users:\n    id = 1\n    age = -1\n",
  );
});

Deno.test("marmot parked discard moves the event that never fits to the quarantine, and the node goes on", async () => {
  using world = makeParked();
  const unasked = await runCommand(["parked", "discard", "users", "-db-path", world.path]);
  assert.equal(unasked.code, 2, unasked.error);
  const { output } = await runCommand(["parked", "discard", "users", "-yes", "-db-path", world.path]);
  assert.match(output, /^1 message moved to the quarantine/);
  assert.ok(world.replica.takeOperatorRequest());
  assert.equal(world.replica.retryParked(BOUNDS)?.messages, 2);
  assert.deepEqual(world.replica.parkedTables(), []);
  assert.deepEqual(world.rows("SELECT * FROM Users ORDER BY id"), [[1, 3], [2, 2]]);
  const listed = await runCommand(["quarantine", "-db-path", world.path]);
  assert.match(
    listed.output,
    /discarded by the operator while it was parked: CHECK constraint failed: age > 0\n$/,
  );
  const shown = await runCommand(["quarantine", "show", "1", "-db-path", world.path]);
  assert.match(shown.output, /\n {2}1 event of table Users:\n {4}id = 1\n {4}age = -1\n/);
  assert.equal((await runCommand(["parked", "-db-path", world.path])).output, "No table is parked.\n");
});

Deno.test("a discarded event is not taken up again: only its rows are kept", async () => {
  using world = makeParked();
  await runCommand(["parked", "discard", "users", "-all", "-yes", "-db-path", world.path]);
  const retrying = runCommand(["quarantine", "retry", "3", "-db-path", world.path]);
  assert.ok(world.replica.takeOperatorRequest());
  assert.equal(world.replica.retryQuarantined(0)?.kind, "stays");
  assert.match(
    (await retrying).output,
    /^0 messages applied, 1 stay in quarantine\.\n {2}3: it was parked, /,
  );
  assert.deepEqual(world.rows("SELECT * FROM Users"), []);
});

Deno.test("a table of which nothing waits is one sentence", async () => {
  using world = makeParked();
  for (const verb of ["show", "discard"]) {
    const { code, error } = await runCommand(["parked", verb, "nobody", "-yes", "-db-path", world.path]);
    assert.deepEqual([code, error.split("\n")[0]], [
      1,
      `marmot: Cannot ${verb} waiting messages of table "nobody": none wait`,
    ]);
  }
});
