/** The record of what lost: its winner's place, its origins, and its bounds. */
import assert from "node:assert/strict";
import { ConflictJournal } from "../../src/db/apply/conflict_journal.ts";
import { OTHER_ID, OWN_ID, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES (1, 'x'), (2, 'y')";

function armedWorld(): TestReplica {
  const world = new TestReplica(SCHEMA);
  world.arm();
  return world;
}

const conflictsOf = (world: TestReplica) =>
  world.rows(
    "SELECT kind, losing_origin, winner_origin, winner_stream, winner_sequence FROM __marmot__conflict ORDER BY id",
  );
const countOpen = (world: TestReplica) =>
  world.rows("SELECT count(open_table_id) FROM __marmot__conflict")[0]?.[0];

Deno.test("the winner of an overwritten event is filled in when its echo is read", () => {
  using world = armedWorld();
  world.application.exec("UPDATE t SET u = 'mine' WHERE id = 1");
  world.apply("t", [upsert(1n, "theirs")]);
  assert.deepEqual(conflictsOf(world), [["overwritten", "2", "1", null, null]]);
  const { run } = world.replica;
  world.apply("t", [upsert(2n, "another row's")], { origin: OWN_ID, run, top: 0 });
  assert.equal(countOpen(world), 1);
  world.apply("t", [upsert(1n, "mine")], { origin: OWN_ID, run, top: 1 });
  assert.deepEqual(conflictsOf(world), [["overwritten", "2", "1", "s", 3]]);
  assert.equal(countOpen(world), 0);
});

Deno.test("a record that was open when the process ended is closed by its next life", () => {
  using world = armedWorld();
  world.application.exec("UPDATE t SET u = 'mine' WHERE id = 1");
  world.apply("t", [upsert(1n, "theirs")]);
  const { run } = world.replica;
  world.reopen();
  world.arm();
  world.apply("t", [upsert(1n, "mine")], { origin: OWN_ID, run, top: 1 });
  assert.deepEqual(conflictsOf(world), [["overwritten", "2", "1", "s", 2]]);
});

Deno.test("a record that a savepoint undid is not counted as open", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, u CHECK (u < 100))");
  world.arm();
  world.application.exec("INSERT INTO t VALUES (1, 1)");
  assert.equal(world.apply("t", [upsert(1n, 2n), upsert(2n, 1000n)]).parked, 1);
  assert.deepEqual(conflictsOf(world), []);
});

Deno.test("the origin of a hidden row that lost is known, that of a displaced row is not", () => {
  using world = armedWorld();
  world.application.exec("INSERT INTO t VALUES (3, 'z')");
  const { run } = world.replica;
  world.apply("t", [upsert(4n, "z")]);
  world.apply("t", [upsert(3n, "z")], { origin: OWN_ID, run, top: 1 });
  world.apply("t", [upsert(5n, "y")]);
  assert.deepEqual(conflictsOf(world), [
    ["hidden-dropped", OTHER_ID.toString(), OWN_ID.toString(), "s", 2],
    ["displaced", null, OTHER_ID.toString(), "s", 3],
  ]);
});

Deno.test("the journal keeps its newest records, bounded in number and in bytes", () => {
  using world = armedWorld();
  const { connection } = world.replica;
  const record = (journal: ConflictJournal, text: string) =>
    journal.record({
      kind: "displaced",
      losing: { table: "t", columns: ["id"], key: [0], uniqueSignature: "", events: [upsert(text)] },
      losingOrigin: null,
      winnerOrigin: OTHER_ID,
      winner: { stream: "s", sequence: 1 },
      atMs: world.nowMs,
    });
  const kept = () =>
    connection.statement("SELECT count(*), max(id) FROM __marmot__conflict").get()?.map(Number);
  const journal = new ConflictJournal(connection, { records: 3, bytes: 1000 });
  for (const text of ["a", "b", "c", "d"]) record(journal, text);
  assert.deepEqual(kept(), [3, 4]);
  record(journal, "e".repeat(990));
  assert.deepEqual(kept(), [1, 5], "the small ones made room");
  record(journal, "f".repeat(5000));
  assert.deepEqual(kept(), [1, 6], "the newest is kept whatever its size");
  const reloaded = new ConflictJournal(connection, { records: 3, bytes: 1000 });
  reloaded.load();
  record(reloaded, "g");
  assert.deepEqual(kept(), [1, 7], "what is there was counted");
});

Deno.test("a database of an earlier layout gets the columns that came since", () => {
  using world = new TestReplica(SCHEMA);
  world.application.exec(
    "CREATE TABLE __marmot__conflict (id INTEGER PRIMARY KEY, table_name TEXT NOT NULL, kind TEXT NOT NULL, " +
      "losing BLOB NOT NULL, losing_origin TEXT, winner_stream TEXT, winner_sequence INTEGER, " +
      "winner_origin TEXT NOT NULL, at_ms INTEGER NOT NULL)",
  );
  world.arm();
  world.application.exec("UPDATE t SET u = 'mine' WHERE id = 1");
  world.apply("t", [upsert(1n, "theirs")]);
  assert.equal(countOpen(world), 1);
});
