/** Writing many rows with one statement leaves what writing each by itself leaves. */
import assert from "node:assert/strict";
import { RawText, type Value } from "../../src/wire/value.ts";
import { TestReplica, upsert } from "./test_replica.ts";

/** Around the numbers of rows that go into one statement. */
const COUNTS = [1, 7, 8, 9, 31, 32, 33, 40, 41, 500];

for (const count of COUNTS) {
  Deno.test(`${count} rows of one message are written, and overwritten, all of them`, () => {
    using test = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT)");
    test.arm();
    const ids = Array.from({ length: count }, (_, i) => BigInt(i + 1));
    const first = test.apply("t", ids.map((id) => upsert(id, id * 2n, `first ${id}`)));
    assert.equal(first.written, count);
    const second = test.apply("t", ids.map((id) => upsert(id, null, `second ${id}`)));
    assert.equal(second.written, count);
    assert.deepEqual(
      test.rows("SELECT id, a, b FROM t ORDER BY id"),
      ids.map((id) => [Number(id), null, `second ${id}`]),
    );
  });
}

Deno.test("text that no string carries is written among rows of other text", () => {
  using test = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
  test.arm();
  const broken = new RawText(new Uint8Array([0x61, 0xff]));
  const values: Value[] = Array.from({ length: 100 }, (_, i) => i === 40 ? broken : `text ${i}`);
  test.apply("t", values.map((value, i) => upsert(BigInt(i), value)));
  assert.deepEqual(test.rows("SELECT count(*), sum(typeof(v) = 'text') FROM t"), [[100, 100]]);
  assert.deepEqual(test.rows("SELECT hex(v) FROM t WHERE id = 40"), [["61FF"]]);
});

Deno.test("rows of many columns are written in smaller statements", () => {
  const names = Array.from({ length: 300 }, (_, i) => `c${i}`);
  using test = new TestReplica(`CREATE TABLE t (id INTEGER PRIMARY KEY, ${names.join(", ")})`);
  test.arm();
  const row = (id: number) => upsert(BigInt(id), ...names.map((_, i) => BigInt(id * 1000 + i)));
  test.apply("t", Array.from({ length: 50 }, (_, i) => row(i)));
  assert.deepEqual(test.rows("SELECT count(*), sum(c299 = id * 1000 + 299) FROM t"), [[50, 50]]);
});

Deno.test("of two events of one row in a message the later one stays", () => {
  using test = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  test.arm();
  const events = Array.from({ length: 64 }, (_, i) => upsert(BigInt(i % 40), BigInt(i)));
  assert.equal(test.apply("t", events).written, 64);
  assert.deepEqual(test.rows("SELECT count(*), sum(v) FROM t"), [[
    40,
    (40 + 63) * 24 / 2 + (24 + 39) * 16 / 2,
  ]]);
});

Deno.test("the application's triggers run for every row of a statement, in order", () => {
  using test = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE VIRTUAL TABLE found USING fts5 (v, content=''); " +
      "CREATE TRIGGER find AFTER INSERT ON t BEGIN INSERT INTO found (rowid, v) VALUES (NEW.id, NEW.v); END",
  );
  test.arm();
  test.apply("t", Array.from({ length: 100 }, (_, i) => upsert(BigInt(i + 1), `word${i}`)));
  assert.deepEqual(test.rows("SELECT rowid FROM found WHERE found MATCH 'word77'"), [[78]]);
  assert.deepEqual(test.rows("SELECT count(*) FROM found WHERE found MATCH 'word*'"), [[100]]);
});

Deno.test("a row that SQLite drops in silence parks the table, though others of its statement were taken", () => {
  using test = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v CHECK (v <> 50) NOT NULL ON CONFLICT IGNORE)",
  );
  test.arm();
  const rows = Array.from({ length: 64 }, (_, i) => upsert(BigInt(i), i === 20 ? null : BigInt(i + 100)));
  assert.equal(test.apply("t", rows).parked, 1);
  assert.deepEqual(test.rows("SELECT count(*) FROM t"), [[0]]);
});
