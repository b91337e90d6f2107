/** What becomes of messages that cannot be applied, and of a database whose Marmot tables are gone. */
import assert from "node:assert/strict";
import { ParkedMessages } from "../../src/db/apply/parked_messages.ts";
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

Deno.test("a batch that is parked half way leaves the entries that it would have ended", () => {
  using world = new TestReplica("CREATE TABLE other (id INTEGER PRIMARY KEY)");
  world.arm();
  world.application.exec(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v CHECK (v < 100)); INSERT INTO t VALUES (1, 1), (2, 2)",
  );
  world.arm();
  const before = world.entries();
  assert.equal(world.apply("t", [upsert(1n, 5n), upsert(9n, 1000n)]).parked, 1);
  assert.deepEqual(world.rows("SELECT * FROM t"), [[1, 1], [2, 2]]);
  assert.deepEqual(world.entries(), before);
});

Deno.test("a hidden row whose place was taken by a batch that was parked is still hidden", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v CHECK (v < 100))");
  world.arm();
  world.application.exec("INSERT INTO t VALUES (1, 'x', 1)");
  assert.equal(world.apply("t", [upsert(2n, "x", 5n)]).hidden, 1);
  assert.equal(world.apply("t", [upsert(2n, "y", 6n), upsert(3n, "z", 1000n)]).parked, 1);
  assert.deepEqual(world.rows("SELECT count(*) FROM __marmot__hidden"), [[1]]);
  world.application.exec(
    "BEGIN; CREATE TABLE n (id INTEGER PRIMARY KEY, u UNIQUE, v); INSERT INTO n SELECT * FROM t; DROP TABLE t; " +
      "ALTER TABLE n RENAME TO t; COMMIT",
  );
  world.arm();
  world.replica.retryParked({ rows: 1000, milliseconds: 1000 });
  assert.deepEqual(world.rows("SELECT count(*) FROM __marmot__hidden"), [[0]]);
  assert.deepEqual(world.rows("SELECT id, u FROM t"), [[1, "x"], [2, "y"], [3, "z"]]);
});

Deno.test("a column called like a member of every object parks its table, and ends no node", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const columns = ["id", "v", "constructor"];
  assert.equal(world.apply("users", [upsert(1n, "x", "y")], { columns, key: [0] }).parked, 1);
});

Deno.test("a column that was renamed and then dropped is left out of older events", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, a, v)");
  world.arm();
  for (const change of ["RENAME COLUMN a TO b", "DROP COLUMN b"]) {
    world.application.exec(`ALTER TABLE t ${change}`);
    world.arm();
  }
  assert.equal(world.apply("t", [upsert(1n, "x", "y")], { columns: ["id", "a", "v"], key: [0] }).written, 1);
  assert.deepEqual(world.rows("SELECT * FROM t"), [[1, "y"]]);
});

Deno.test("rows of a key with NULL that clash with a pending row are hidden, and come out when it goes", () => {
  using world = new TestReplica("CREATE TABLE t (a, b, u UNIQUE, PRIMARY KEY (a, b))");
  world.arm();
  world.application.exec("INSERT INTO t VALUES (2, 2, 'x')");
  const list = { kind: "list" as const, key: [1n, null], rows: [[1n, null, "x"]] };
  assert.deepEqual([world.apply("t", [list]).hidden, world.replica.parkedTables()], [1, []]);
  world.application.exec("DELETE FROM t");
  const { run } = world.replica;
  world.apply("t", [{ kind: "delete", key: [2n, 2n] }], { origin: 1n, run, top: 9 });
  assert.deepEqual(world.rows("SELECT * FROM t"), [[1, null, "x"]]);
});

Deno.test("REPLACE that removes one of several rows of a key with NULL is published", () => {
  using world = new TestReplica(
    "CREATE TABLE t (a, b, u UNIQUE, PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, NULL, 'x'), (1, NULL, 'y')",
  );
  world.arm();
  world.application.exec("INSERT OR REPLACE INTO t VALUES (2, 2, 'x')");
  const request = {
    after: new Map([[1, 0]]),
    shardOf: () => 1,
    shardsOf: () => [1],
    upTo: Infinity,
    maxEntries: 10,
    maxBytes: 1e6,
  };
  const events = world.replica.scan(request)?.sets.flatMap((set) => set.events);
  assert.deepEqual(events?.[0], { kind: "list", key: [1n, null], rows: [[1n, null, "y"]] });
});

Deno.test("past its bounds a parked table is marked as in need of a resync, once and durably", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  const { connection } = world.replica;
  const each = { messages: 2, bytes: 1000 };
  const parked = new ParkedMessages(connection, { each, all: { messages: 3, bytes: 1500 } });
  const park = (tableName: string, text: string) =>
    parked.park(
      {
        stream: "s",
        sequence: 1,
        tableName,
        origin: 2n,
        run: 1,
        top: 1,
        content: {
          kind: "batch",
          body: { table: tableName, columns: ["id"], key: [0], uniqueSignature: "", events: [upsert(text)] },
        },
      },
      { reason: "no such table", atMs: 5 },
    );
  assert.deepEqual([park("a", "1"), park("a", "2"), park("A", "3"), park("a", "4")], [
    "first",
    "queued",
    "first lost",
    "lost",
  ]);
  assert.equal(park("b", "x".repeat(1100)), "first lost", "too many bytes of a table");
  assert.equal(park("c", "y".repeat(900)), "first");
  assert.equal(park("d", "z"), "first lost", "too many of all tables together");
  const again = new ParkedMessages(connection, { each, all: { messages: 9, bytes: 9000 } });
  again.load();
  assert.deepEqual(again.inNeedOfResync(), [{ table: "A", lost: 2 }, { table: "b", lost: 1 }, {
    table: "d",
    lost: 1,
  }]);
  const first = again.first("a");
  assert.ok(first);
  again.release("a", first);
  assert.deepEqual([again.isParked("a"), again.isParked("c"), again.isParked("b")], [true, true, false]);
});

Deno.test("events of one table wait in one queue, in order, whichever of its names they give", () => {
  using world = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE u (id INTEGER PRIMARY KEY)",
  );
  world.arm();
  const layout = { columns: ["id", "v", "w"], key: [0] };
  const plain = { columns: ["id", "v"], key: [0] };
  // Nobody knows this name yet: another version, which tells no former names, has renamed the table.
  assert.equal(world.apply("renamed", [upsert(1n, "first")], plain).parked, 1);
  assert.equal(world.apply("t", [upsert(1n, "second", "w")], layout).parked, 1);
  assert.equal(world.apply("renamed", [upsert(1n, "third")], { ...plain, formerNames: ["t"] }).parked, 1);
  assert.deepEqual(world.replica.parkedTables(), ["renamed", "t"]);
  world.application.exec("ALTER TABLE t RENAME TO renamed");
  world.arm();
  world.replica.retryParked({ rows: 1000, milliseconds: 1000 });
  assert.deepEqual(world.rows("SELECT * FROM renamed"), [[1, "first"]]);
  assert.deepEqual(world.replica.parkedTables(), ["renamed"], "the second does not fit yet");
  assert.equal(world.apply("t", [upsert(1n, "fourth")], plain).parked, 1);
  world.reopen();
  world.application.exec("ALTER TABLE renamed ADD COLUMN w");
  world.arm();
  world.replica.retryParked({ rows: 1000, milliseconds: 1000 });
  assert.deepEqual(world.rows("SELECT * FROM renamed"), [[1, "fourth", "w"]]);
  assert.deepEqual(world.replica.parkedTables(), []);
});

Deno.test("a message of a renamed table is applied under its former name, but never to a table that took it since", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  world.arm();
  const layout = { columns: ["id", "v"], key: [0] };
  assert.equal(world.apply("renamed", [upsert(1n, "a")], { ...layout, formerNames: ["t"] }).written, 1);
  world.application.exec("ALTER TABLE t RENAME TO mine; CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  world.arm();
  assert.equal(world.apply("renamed", [upsert(2n, "b")], { ...layout, formerNames: ["t"] }).parked, 1);
  assert.equal(world.apply("t", [upsert(3n, "c")], { ...layout, formerNames: [] }).written, 1);
  assert.deepEqual(world.rows("SELECT id FROM mine"), [[1]]);
  assert.deepEqual(world.rows("SELECT id FROM t"), [[3]]);
  world.application.exec("DROP TABLE t");
  world.arm();
  const late = world.apply("t", [upsert(4n, "d")], { ...layout, formerNames: [] });
  assert.deepEqual([late.written, late.parked], [0, 1], "its name was another table's");
});

Deno.test("rows of one key with NULL that clash among themselves by an index of this node alone do not park the table", () => {
  using world = new TestReplica("CREATE TABLE t (a, b, u UNIQUE, PRIMARY KEY (a, b))");
  world.arm();
  const rows = [[1n, null, "x"], [1n, null, "y"], [1n, null, "x"], [1n, null, null], [1n, null, null]];
  const outcome = world.apply("t", [{ kind: "list", key: [1n, null], rows }]);
  assert.deepEqual([outcome.parked, outcome.displaced], [0, 1]);
  assert.deepEqual(world.rows("SELECT u FROM t ORDER BY u"), [[null], [null], ["x"], ["y"]]);
  assert.equal(world.rows("SELECT count(*) FROM __marmot__conflict")[0]?.[0], 1);
});
