import assert from "node:assert/strict";
import type { ApplyOutcome } from "../../src/db/apply/apply_outcome.ts";
import type { ChangeEvent, TableImage } from "../../src/wire/batch.ts";
import { RawText, type Value } from "../../src/wire/value.ts";
import { deletion, OTHER_ID, OWN_ID, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);" +
  "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e');";

/** Takes the capture triggers away and runs statements, as a migration does. */
function writeWithoutCapture(world: TestReplica, sql: string): void {
  const triggers = world.rows(
    "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB '__marmot__*'",
  );
  world.application.exec(
    `BEGIN; ${triggers.map(([name]) => `DROP TRIGGER ${name};`).join(" ")} ${sql}; COMMIT`,
  );
}

/** A piece of an image of another node, by default of the whole table, that orders keys as the local table does. */
function imageOf(world: TestReplica, table: string, image: Partial<TableImage> = {}): TableImage {
  const { keyOrder = "" } = world.table(table).memory;
  return { id: 1, rows: null, keyOrder, after: null, upTo: null, ...image };
}

function ids(world: TestReplica, table = "t"): unknown[] {
  return world.rows(`SELECT id FROM ${table} ORDER BY id`).flat();
}

/** The pieces that a node would publish, each read back at once, and their events. */
function publishAll(
  world: TestReplica,
  table = "t",
): { image: TableImage; events: readonly ChangeEvent[] }[] {
  const pieces: { image: TableImage; events: readonly ChangeEvent[] }[] = [];
  for (;;) {
    const armed = world.table(table);
    if (!world.replica.tablesOfDueImages().includes(armed)) return pieces;
    const piece = world.replica.scanImage(armed, 0);
    assert.ok(typeof piece === "object");
    pieces.push(piece);
    const { image, top } = piece;
    world.apply(table, piece.events, { image, top, origin: OWN_ID, run: world.replica.run });
  }
}

Deno.test("a piece deletes the rows of its range that it does not hold, and no others", () => {
  using world = new TestReplica(SCHEMA, { maxImageDeletes: 100 });
  world.arm();
  world.apply("t", [upsert(3n, "C")], { image: imageOf(world, "t", { after: [1n], upTo: [4n] }) });
  assert.deepEqual(world.rows("SELECT id, v FROM t ORDER BY id"), [[1, "a"], [3, "C"], [5, "e"]]);
  world.apply("t", [], { image: imageOf(world, "t", { after: [4n], upTo: null }) });
  assert.deepEqual(ids(world), [1, 3]);
});

Deno.test("a piece keeps rows that are pending here", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  world.application.exec("UPDATE t SET v = 'pending' WHERE id = 2; INSERT INTO t VALUES (9, 'pending')");
  world.apply("t", [upsert(1n, "a")], { image: imageOf(world, "t") });
  assert.deepEqual(ids(world), [1, 2, 9]);
});

Deno.test("a table that was changed without capture owes an image in pieces, which end with its last key", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
  world.arm();
  writeWithoutCapture(
    world,
    "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1100) INSERT INTO t SELECT i, 'v' FROM n",
  );
  assert.deepEqual(world.arm().uncaptured, ["t"]);
  assert.deepEqual(world.entries(), [], "rows that the image tells of need no entries");
  const pieces = publishAll(world);
  assert.deepEqual(pieces.map(({ image }) => [image.after, image.upTo, image.rows]), [
    [null, [500n], 1100],
    [[500n], [1000n], null],
    [[1000n], null, null],
  ]);
  assert.equal(pieces.flatMap(({ events }) => events).length, 1100);
});

Deno.test("an image goes on where it was read back, after a restart as well, and begins anew after another window", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)");
  world.arm();
  writeWithoutCapture(
    world,
    "INSERT INTO t VALUES (1, zeroblob(200000)), (2, zeroblob(200000)), (3, 'small')",
  );
  world.arm();
  const next = () => {
    const piece = world.replica.scanImage(world.table("t"), 0);
    assert.ok(typeof piece === "object");
    return piece;
  };
  const first = next();
  assert.deepEqual([first.image.after, first.image.upTo], [null, [1n]]);
  assert.deepEqual(next().image, first.image, "before it is read back it is still due");
  world.apply("t", first.events, { image: first.image, origin: OWN_ID, run: world.replica.run });
  world.reopen();
  world.arm();
  const second = next();
  assert.deepEqual([second.image.after, second.image.upTo], [[1n], [2n]]);
  writeWithoutCapture(world, "DELETE FROM t WHERE id = 1");
  world.arm();
  world.apply("t", second.events, { image: second.image, origin: OWN_ID, run: world.replica.run });
  const anew = next();
  assert.deepEqual([anew.image.after, anew.image.id > second.image.id], [null, true]);
});

Deno.test("a piece takes along what is captured and not published, its deletions too", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  writeWithoutCapture(world, "DELETE FROM t WHERE id = 1");
  world.arm();
  world.application.exec("DELETE FROM t WHERE id = 2; UPDATE t SET v = 'C' WHERE id = 3");
  const [piece] = publishAll(world);
  assert.deepEqual(piece?.events.slice(0, 2), [deletion(2n), upsert(3n, "C")]);
  assert.deepEqual(world.entries().filter((entry) => entry[1] !== 3n), [], "reading it back settles them");
});

Deno.test("a node keeps the rows of which its own image has still to tell, and only those", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)");
  world.arm();
  writeWithoutCapture(
    world,
    "INSERT INTO t VALUES (1, zeroblob(200000)), (2, zeroblob(200000)), (3, 'small')",
  );
  world.arm();
  world.apply("t", [], { image: imageOf(world, "t") });
  assert.deepEqual(ids(world), [1, 2, 3], "none of it was told");
  const piece = world.replica.scanImage(world.table("t"), 0);
  assert.ok(typeof piece === "object");
  world.apply("t", piece.events, { image: piece.image, origin: OWN_ID, run: world.replica.run });
  world.apply("t", [], { image: imageOf(world, "t", { id: 2 }) });
  assert.deepEqual(ids(world), [2, 3], "row 1 was told");
});

Deno.test("an own event that is read back late writes nothing over a row that was changed without capture since", () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE)");
  world.arm();
  writeWithoutCapture(world, "INSERT INTO t VALUES (1, 'one'), (3, 'two')");
  world.arm();
  const own = { origin: OWN_ID, run: world.replica.run };
  world.apply("t", [deletion(1n), upsert(3n, "three")], own);
  assert.deepEqual(world.rows("SELECT id, u FROM t ORDER BY id"), [[1, "one"], [3, "two"]]);
  world.application.exec("INSERT INTO t VALUES (2, 'x')");
  world.apply("t", [upsert(2n, "two")], { ...own, top: 1 });
  assert.deepEqual(world.rows("SELECT id, u FROM t ORDER BY id"), [[1, "one"], [2, "x"], [3, "two"]]);
});

Deno.test("a hidden row that is gone at the image's node does not come out any more", () => {
  for (const origin of [OTHER_ID, OWN_ID]) {
    using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE)");
    world.arm();
    world.application.exec("INSERT INTO t VALUES (1, 'x')");
    assert.equal(world.apply("t", [upsert(2n, "x")]).hidden, 1);
    if (origin === OWN_ID) {
      writeWithoutCapture(world, "INSERT INTO t VALUES (3, 'y')");
      world.arm();
    }
    world.apply("t", [upsert(3n, "y")], {
      image: imageOf(world, "t"),
      origin,
      run: world.replica.run - 1,
      top: 0,
    });
    assert.deepEqual(world.rows("SELECT count(*) FROM __marmot__hidden"), [[0]]);
    assert.deepEqual(ids(world), [1, 3]);
  }
});

Deno.test("many deletions take several transactions, and the cursor waits for the last", () => {
  using world = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY);" +
      "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1300) INSERT INTO t SELECT i FROM n",
    { maxImageDeletes: 100 },
  );
  world.arm();
  const message = world.message("t", [upsert(700n)], { image: imageOf(world, "t") });
  const apply = (): ApplyOutcome => {
    const outcome = world.replica.apply([message], { rows: 1000, milliseconds: 1000 });
    assert.ok(outcome);
    return outcome;
  };
  const first = apply();
  assert.deepEqual([first.isUnfinished, first.messages, ids(world).length], [true, 0, 800]);
  assert.equal(world.replica.positions.get("s").cursor, 0);
  world.application.exec("INSERT INTO t VALUES (1)");
  world.reopen();
  world.arm();
  assert.equal(apply().isUnfinished, true);
  const last = apply();
  assert.deepEqual([last.isUnfinished, last.messages], [false, 1]);
  assert.deepEqual(ids(world), [1, 700], "what was written meanwhile is kept");
  assert.equal(world.replica.positions.get("s").cursor, 1);
});

Deno.test("an image that deletes more than its share parks the table, and goes on when that is allowed", () => {
  using world = new TestReplica(SCHEMA, { maxImageDeletes: 40 });
  world.arm();
  const fits = imageOf(world, "t", { rows: 3 });
  assert.equal(
    world.apply("t", [upsert(1n, "a"), upsert(2n, "b"), upsert(3n, "c")], { image: fits }).parked,
    0,
  );
  assert.deepEqual(ids(world), [1, 2, 3]);
  const most = imageOf(world, "t", { id: 2, rows: 1, upTo: [1n] });
  assert.equal(world.apply("t", [upsert(1n, "a")], { image: most }).parked, 1);
  assert.equal(world.apply("t", [upsert(9n, "later")]).parked, 1);
  assert.deepEqual(ids(world), [1, 2, 3]);
  world.options = { maxImageDeletes: 100 };
  world.reopen();
  world.arm();
  world.replica.retryParked({ rows: 1000, milliseconds: 1000 });
  world.apply("t", [], { image: { ...most, rows: null, after: [1n], upTo: [8n] } });
  assert.deepEqual(ids(world), [1, 9]);
});

Deno.test("the share counts over all pieces, where an image brings as many rows as it deletes", () => {
  using world = new TestReplica(SCHEMA, { maxImageDeletes: 40 });
  world.arm();
  const piece = (after: bigint | null, upTo: bigint) =>
    imageOf(world, "t", {
      rows: after === null ? 5 : null,
      after: after === null ? null : [after],
      upTo: [upTo],
    });
  assert.equal(world.apply("t", [upsert(10n, "")], { image: piece(null, 2n) }).parked, 0);
  assert.equal(world.apply("t", [upsert(11n, "")], { image: piece(2n, 3n) }).parked, 1);
  assert.deepEqual(ids(world), [3, 4, 5, 10]);
});

Deno.test("a key of another order parks the table, but for pieces from before the own migration", () => {
  using world = new TestReplica(
    "CREATE TABLE t (id TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('9', 1), ('10', 2)",
  );
  world.arm();
  const before = imageOf(world, "t");
  assert.equal(world.apply("t", [], { image: { ...before, keyOrder: "[]" } }).parked, 1);
  world.application.exec("DELETE FROM __marmot__parked");
  world.reopen();
  writeWithoutCapture(
    world,
    "CREATE TABLE n (id INTEGER PRIMARY KEY, v); INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t",
  );
  world.arm();
  assert.notEqual(imageOf(world, "t").keyOrder, before.keyOrder);
  assert.equal(world.apply("t", [upsert("9", "as text")], { image: before }).parked, 0);
  assert.deepEqual(world.rows("SELECT id, v FROM t ORDER BY id"), [[9, "as text"], [10, 2]]);
});

Deno.test("while events of a table wait its image is not published: they are not in its rows", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  writeWithoutCapture(world, "DELETE FROM t WHERE id = 1");
  world.arm();
  assert.equal(world.replica.tablesOfDueImages().length, 1);
  world.apply("t", [upsert(6n, "f", "g")], { columns: ["id", "v", "w"], key: [0] });
  assert.deepEqual(world.replica.tablesOfDueImages(), []);
  assert.equal(world.replica.scanImage(world.table("t"), Infinity), "backlog");
});

Deno.test("an image that its stream has lost is owed again", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  writeWithoutCapture(world, "DELETE FROM t WHERE id = 1");
  world.arm();
  publishAll(world);
  const { cursor } = world.replica.positions.get("s");
  const goBackTo = (sequence: number) =>
    world.replica.recovery.goBack({ ...world.replica.positions.get("s"), cursor: sequence }, sequence);
  goBackTo(cursor);
  assert.deepEqual(world.replica.tablesOfDueImages(), []);
  goBackTo(cursor - 1);
  assert.equal(world.replica.tablesOfDueImages().length, 1);
});

Deno.test("without images, for the original's format, the rows go out as backfill", () => {
  using world = new TestReplica(SCHEMA);
  world.arm();
  writeWithoutCapture(world, "DELETE FROM t WHERE id > 2");
  world.arm();
  assert.equal(world.replica.tablesOfDueImages().length, 1);
  world.options = { hasImages: false };
  world.reopen();
  world.arm();
  assert.deepEqual(world.replica.tablesOfDueImages(), []);
  assert.deepEqual(world.entries(), [[1n, 2n, 1n], [1n, 2n, 2n]]);
});

Deno.test("ranges go by the index on the key: storage classes, collations, NULL and broken text included", () => {
  using world = new TestReplica(
    "CREATE TABLE t (a COLLATE NOCASE, b, PRIMARY KEY (a, b)); INSERT INTO t VALUES (NULL, 1), ('a', NULL), (1, 1), (1.5, 1), " +
      "(2, x'00'), ('a', 1), ('B', 1), ('b', 2), (CAST(x'62ff' AS TEXT), 1), ('a' || char(0), 1), (x'00', 'blob')",
  );
  world.arm();
  const { ranges } = world.table("t");
  const all = ranges.keys({ after: null, upTo: null }, 100);
  assert.equal(all.length, 9);
  assert.equal(ranges.keysWithNull().length, 2);
  for (const [i, key] of all.entries()) {
    assert.deepEqual(ranges.keys({ after: key, upTo: null }, 100), all.slice(i + 1));
    assert.deepEqual(ranges.keys({ after: null, upTo: key }, 100), all.slice(0, i + 1));
    const contains = (other: readonly Value[]) => ranges.contains({ after: null, upTo: key }, other);
    assert.deepEqual(all.map(contains), all.map((_, j) => j <= i), `up to key ${i}`);
  }
  assert.ok(all.some(([a]) => a instanceof RawText));
});
