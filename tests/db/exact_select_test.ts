import assert from "node:assert/strict";
import { Connection } from "../../src/db/connection.ts";
import { ExactSelect } from "../../src/db/rows/exact_select.ts";
import { RawText, type Value } from "../../src/wire/value.ts";

const bytes = (...values: number[]) => new Uint8Array(values);

const VALUES: readonly (readonly [sql: string, value: Value])[] = [
  ["NULL", null],
  ["9223372036854775807", 9223372036854775807n],
  ["-9223372036854775808", -9223372036854775808n],
  ["1", 1n],
  ["1.0", 1],
  ["5e-324", 5e-324],
  ["9e999", Infinity],
  ["-9e999", -Infinity],
  ["''", ""],
  ["x''", bytes()],
  ["'plain'", "plain"],
  ["'👩‍👩‍👧‍👦'", "👩‍👩‍👧‍👦"],
  ["char(0xFFFD)", "\uFFFD"],
  ["char(0xFEFF) || 'x'", "\uFEFFx"],
  ["'a' || char(0) || 'b'", "a\0b"],
  ["char(0)", "\0"],
  ["CAST(x'ff' AS TEXT)", new RawText(bytes(0xff))],
  ["CAST(x'6100fe62' AS TEXT)", new RawText(bytes(0x61, 0, 0xfe, 0x62))],
  ["CAST(x'eda080' AS TEXT)", new RawText(bytes(0xed, 0xa0, 0x80))],
  ["x'ff00'", bytes(0xff, 0)],
];

function connect(): Connection & Disposable {
  const connection = new Connection(":memory:");
  return Object.assign(connection, { [Symbol.dispose]: () => connection.close() });
}

for (const [sql, value] of VALUES) {
  Deno.test(`an exact SELECT reads ${sql} as it is, alone and beside what needs a second look`, () => {
    using connection = connect();
    assert.deepEqual(new ExactSelect(connection, [sql], "").all([]), [[value]]);
    const beside = new ExactSelect(connection, [sql, "CAST(x'ff' AS TEXT)"], "").all([]);
    assert.deepEqual(beside, [[value, new RawText(bytes(0xff))]]);
  });
}

Deno.test("an exact SELECT reads rows wider than a slice, in their order, with parameters", () => {
  using connection = connect();
  const names = Array.from({ length: 901 }, (_, i) => `c${i}`);
  connection.exec(`CREATE TABLE wide (id INTEGER PRIMARY KEY, ${names.join(", ")})`);
  for (const id of [3, 1, 2]) {
    connection.exec(
      `INSERT INTO wide (id, c0, c400, c900) VALUES (${id}, 'a${id}', CAST(x'ff' AS TEXT), char(0) || ${id})`,
    );
  }
  const rows = new ExactSelect(connection, ["id", ...names], "FROM wide WHERE id > ? ORDER BY id DESC").all([
    1n,
  ]);
  assert.deepEqual(rows.map((row) => row.length), [902, 902]);
  assert.deepEqual(rows.map((row) => [row[0], row[1], row[2], row[401], row[901]]), [
    [3n, "a3", null, new RawText(bytes(0xff)), "\x003"],
    [2n, "a2", null, new RawText(bytes(0xff)), "\x002"],
  ]);
});

Deno.test("an exact SELECT of no rows is empty", () => {
  using connection = connect();
  assert.deepEqual(new ExactSelect(connection, ["1"], "WHERE false").all([]), []);
});
