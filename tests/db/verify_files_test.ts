/** Two files compared: what counts as equal, value by value and key by key. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { compareSources, type TableReport, type VerifyReport } from "../../src/node/verify/comparison.ts";
import { FileSource } from "../../src/node/verify/file_source.ts";
import { TestReplica, upsert } from "./test_replica.ts";

const NEVER = new AbortController().signal;

async function compare(paths: readonly string[], limit = 20): Promise<VerifyReport> {
  const sources = paths.map((path) => new FileSource(path, NEVER));
  try {
    return await compareSources(sources, { limit });
  } finally {
    for (const source of sources) await source.close();
  }
}

/** Two databases made by these statements; what they are called in reports is replaced by a and b. */
async function compareMade(a: string, b: string, limit?: number): Promise<TableReport[]> {
  const folder = mkdtempSync(join(tmpdir(), "marmot-verify-"));
  try {
    const paths = ["a", "b"].map((name) => join(folder, `${name}.db`));
    for (const [i, sql] of [a, b].entries()) {
      using database = new DatabaseSync(paths[i]!);
      database.exec(sql);
    }
    const { tables } = await compare(paths, limit);
    return JSON.parse(JSON.stringify(tables).replaceAll(`${folder}/`, "").replaceAll(".db", ""));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const DIFFERS = { versions: [["a"], ["b"]], missingOn: [] };

const values: [what: string, a: string, b: string][] = [
  ["INTEGER 1 and REAL 1.0", "1", "1.0"],
  ["INTEGER 1 and TEXT '1'", "1", "'1'"],
  ["TEXT 'a' and BLOB x'61'", "'a'", "x'61'"],
  ["NULL and empty TEXT", "NULL", "''"],
  ["empty TEXT and empty BLOB", "''", "x''"],
  ["TEXT that differs behind a NUL", "CAST(x'610062' AS TEXT)", "CAST(x'610063' AS TEXT)"],
  ["TEXT with a NUL and the same cut there", "CAST(x'6100' AS TEXT)", "'a'"],
  ["two TEXTs that are not UTF-8", "CAST(x'ff' AS TEXT)", "CAST(x'fe' AS TEXT)"],
  ["TEXT that is not UTF-8 and U+FFFD", "CAST(x'ff' AS TEXT)", "char(0xfffd)"],
  ["composed and decomposed é", "char(0xe9)", "'e' || char(0x301)"],
  ["the largest integers", "9223372036854775807", "9223372036854775806"],
  ["REALs next to each other", "0.1", "0.10000000000000002"],
  ["an infinite REAL and a large one", "9e999", "1e308"],
  ["long BLOBs that differ in one byte", "zeroblob(100000)", "CAST(zeroblob(99999) || x'01' AS BLOB)"],
  ["long TEXT and the BLOB of its bytes", "hex(zeroblob(20000))", "CAST(hex(zeroblob(20000)) AS BLOB)"],
];

for (const [what, a, b] of values) {
  Deno.test(`verify tells ${what} apart`, async () => {
    const make = (value: string) =>
      `CREATE TABLE t (id INTEGER PRIMARY KEY, v, w); INSERT INTO t VALUES (7, ${value}, 1)`;
    const [table] = await compareMade(make(a), make(b));
    assert.deepEqual(table?.differences, [{ key: "id = 7", ...DIFFERS }]);
    for (const value of [a, b]) {
      assert.equal((await compareMade(make(value), make(value)))[0]?.verdict, "equal");
    }
  });
}

const keys: [what: string, schema: string, a: string, b: string, key: string][] = [
  ["'a' and 'A' under NOCASE", "k TEXT COLLATE NOCASE PRIMARY KEY, v", "('a', 1)", "('A', 1)", 'k = "a"'],
  ["1 and 1.0 without a type", "k PRIMARY KEY, v", "(1, 1)", "(1.0, 1)", "k = 1"],
  ["the same keys under RTRIM", "k TEXT COLLATE RTRIM PRIMARY KEY, v", "('a', 1)", "('a  ', 1)", 'k = "a"'],
];

for (const [what, columns, a, b, key] of keys) {
  Deno.test(`verify takes ${what} for the key of one row that differs`, async () => {
    for (const suffix of ["", " WITHOUT ROWID"]) {
      const make = (row: string) => `CREATE TABLE t (${columns})${suffix}; INSERT INTO t VALUES ${row}`;
      const [table] = await compareMade(make(a), make(b));
      assert.deepEqual(table?.differences, [{ key, ...DIFFERS }]);
    }
  });
}

Deno.test("verify compares the rows of a key with NULL as a set, however often each is there", async () => {
  const make = (rows: string) => `CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ${rows}`;
  const a = make("(NULL, 'x'), (NULL, 'y'), (NULL, 'x'), ('k', 1)");
  assert.equal(
    (await compareMade(a, make("('k', 1), (NULL, 'x'), (NULL, 'x'), (NULL, 'y')")))[0]?.verdict,
    "equal",
  );
  const [table] = await compareMade(a, make("(NULL, 'x'), (NULL, 'y'), (NULL, 'y'), ('k', 1)"));
  assert.deepEqual(table?.differences, [{ key: "k = NULL", ...DIFFERS }]);
});

Deno.test("verify tells rows of a table without a key apart by their rowid, and names them in order", async () => {
  const make = (rows: string) => `CREATE TABLE t (v); INSERT INTO t (rowid, v) VALUES ${rows}`;
  const [table] = await compareMade(
    make("(1, 'x'), (2, 'y'), (30, 'z')"),
    make("(1, 'x'), (3, 'y'), (30, 0)"),
  );
  assert.deepEqual(table?.differences, [
    { key: "rowid = 2", versions: [["a"]], missingOn: ["b"] },
    { key: "rowid = 3", versions: [["b"]], missingOn: ["a"] },
    { key: "rowid = 30", ...DIFFERS },
  ]);
});

Deno.test("verify reads tables of every shape to their last column", async () => {
  const wide = Array.from({ length: 1999 }, (_, i) => `c${i}`);
  const shapes: [schema: string, row: (last: string) => string][] = [
    [
      `CREATE TABLE t (id INTEGER PRIMARY KEY, ${wide})`,
      (last) => `INSERT INTO t (id, c1998) VALUES (1, ${last})`,
    ],
    [
      "CREATE TABLE t (a, b, v, PRIMARY KEY (a DESC, b)) WITHOUT ROWID",
      (last) => `INSERT INTO t VALUES (1, 2, ${last})`,
    ],
    [
      "CREATE TABLE t (rowid, _rowid_, oid, k TEXT PRIMARY KEY, v)",
      (last) => `INSERT INTO t VALUES (1, 2, 3, 'k', ${last})`,
    ],
    [
      'CREATE TABLE "t" ("select" INTEGER PRIMARY KEY, "a ""b"" [c]")',
      (last) => `INSERT INTO t VALUES (1, ${last})`,
    ],
    [
      "CREATE TABLE t (id INTEGER PRIMARY KEY, v, g AS (v || 'g'), s AS (v || 's') STORED)",
      (last) => `INSERT INTO t (id, v) VALUES (1, ${last})`,
    ],
    ["CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT) STRICT", (last) => `INSERT INTO t VALUES (1, ${last})`],
  ];
  for (const [schema, insert] of shapes) {
    const make = (last: string) => `${schema}; ${insert(last)}`;
    const [same] = await compareMade(make("'x'"), make("'x'"));
    assert.deepEqual([same?.verdict, same?.rows.map(({ rows }) => rows)], ["equal", [1, 1]], schema);
    const [other] = await compareMade(make("'x'"), make("'y'"));
    assert.equal(other?.differences.length, 1, schema);
  }
});

Deno.test("verify takes tables whatever JavaScript calls so", async () => {
  const names = ["constructor", "__proto__", "toString"];
  const make = (value: number) =>
    names.map((name) =>
      `CREATE TABLE "${name}" (id INTEGER PRIMARY KEY, "${name}"); INSERT INTO "${name}" VALUES (1, ${value})`
    ).join("; ");
  const tables = await compareMade(make(1), make(2));
  assert.deepEqual(
    tables.map(({ name, differingKeys }) => [name, differingKeys]),
    [...names].sort().map((name) => [name, 1]),
  );
});

Deno.test("verify compares the text, not how a database encodes it", async () => {
  const make = (encoding: string) =>
    `PRAGMA encoding = '${encoding}'; CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('ключ', 'wert 🦫')`;
  assert.equal((await compareMade(make("UTF-8"), make("UTF-16le")))[0]?.verdict, "equal");
  assert.equal((await compareMade(make("UTF-16be"), make("UTF-16le")))[0]?.verdict, "equal");
});

Deno.test("verify names differences of the schema as such, and compares what both have", async () => {
  const rows = "INSERT INTO t (id, v) VALUES (1, 'x')";
  const [table] = await compareMade(
    `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, extra); ${rows}`,
    `CREATE TABLE t (v VARCHAR, id INTEGER PRIMARY KEY, more, UNIQUE (v)); ${rows}`,
  );
  assert.equal(table?.verdict, "differing");
  assert.deepEqual(table?.differences, []);
  assert.deepEqual(table?.schemaDifferences, [
    "not on every copy, and not compared: extra (on a)",
    "not on every copy, and not compared: more (on b)",
    "column v is TEXT on a, VARCHAR on b",
    "the UNIQUE indexes differ",
  ]);
  const order = await compareMade(
    `CREATE TABLE t (id INTEGER PRIMARY KEY, v); ${rows}`,
    `CREATE TABLE T (V, ID INTEGER PRIMARY KEY); ${rows}`,
  );
  assert.equal(order[0]?.verdict, "equal");
});

Deno.test("verify says which copy lacks a table, and which has another key", async () => {
  const tables = await compareMade(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE only (id INTEGER PRIMARY KEY)",
    "CREATE TABLE t (id INTEGER, v TEXT PRIMARY KEY)",
  );
  assert.deepEqual(tables.map(({ name, verdict, schemaDifferences }) => [name, verdict, schemaDifferences]), [
    ["only", "not compared", ["no such table: b"]],
    ["t", "not compared", ["its key is (v) on b and (id) on a: not compared"]],
  ]);
});

Deno.test("verify names as many rows as it is told, and says how many more there are", async () => {
  const make = (offset: number) =>
    `CREATE TABLE t (id INTEGER PRIMARY KEY, v); WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 30000) INSERT INTO t SELECT i, i + ${offset} FROM c`;
  const [table] = await compareMade(make(0), make(1), 5);
  assert.equal(table?.differences.length, 5);
  assert.ok(table.differingKeys >= 5 && table.unreadBuckets > 0, JSON.stringify(table).slice(0, 300));
  assert.ok(table.differingKeys + table.unreadBuckets <= 30_000);
});

Deno.test("verify leaves rows that are on their way out, counts them, and still sees the others", async () => {
  using a = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES (1, 'x'), (2, 'y')",
  );
  using b = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES (1, 'x'), (2, 'y')",
  );
  a.arm();
  b.arm();
  a.application.exec("INSERT INTO t VALUES (3, 'z'); DELETE FROM t WHERE id = 1");
  a.apply("t", [upsert(4n, "z")]);
  b.apply("t", [upsert(4n, "z")]);
  const equal = await compare([a.path, b.path]);
  const [table] = equal.tables;
  assert.deepEqual([table?.verdict, table?.pendingKeys, table?.hiddenKeys], ["equal", 2, 1]);
  assert.deepEqual(equal.copies.map(({ cursors }) => cursors), [[["s", 1]], [["s", 1]]]);
  b.apply("t", [upsert(2n, "changed")]);
  const differing = await compare([a.path, b.path]);
  assert.deepEqual(differing.tables[0]?.differences.map(({ key }) => key), ["id = 2"]);
  assert.deepEqual(differing.copies.map(({ cursors }) => cursors), [[["s", 1]], [["s", 2]]]);
});

Deno.test("verify says that a table is parked and does not compare it", async () => {
  using a = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  using b = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  a.arm();
  b.arm();
  a.apply("t", [upsert(1n, 2n)], { columns: ["id", "not here"], key: [0] });
  const { tables } = await compare([a.path, b.path]);
  assert.equal(tables[0]?.verdict, "not compared");
  assert.deepEqual(tables[0]?.obstacles, [`${a.path} has parked it: 1 messages wait for a schema that fits`]);
});

Deno.test("verify holds one row in memory at a time", async () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-verify-"));
  try {
    const path = join(folder, "large.db");
    using database = new DatabaseSync(path);
    database.exec(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, v); WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 50000) " +
        "INSERT INTO t SELECT i, zeroblob(4000) FROM c",
    );
    const script = new URL("./verify_peak.ts", import.meta.url).pathname;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", script, path, path],
      stderr: "inherit",
    }).output();
    const { verdicts, grown } = JSON.parse(new TextDecoder().decode(stdout));
    assert.deepEqual(verdicts, ["equal"]);
    // Both sources together read 400 MB; what the garbage collector has not freed yet counts as well.
    assert.ok(grown < 200_000_000, `${grown / 1e6} MB for two tables of 200 MB`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
