/**
 * Values that are easily lost between storage classes, encodings and limits, on two real nodes. What must be there is
 * said by an oracle: a database in memory that was written the same way, and never replicated.
 */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { dumpTables } from "../../scripts/table_dump.ts";
import { Cluster, type ClusterNode, type ClusterOptions } from "../support/cluster.ts";

const SCHEMA = `
  CREATE TABLE untyped (n INTEGER PRIMARY KEY, v);
  CREATE TABLE typed (n INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, d DATETIME, f BOOLEAN);
  CREATE TABLE keyed (n INT, k PRIMARY KEY);
  CREATE TABLE keyed_text (n INT, k TEXT NOT NULL, l TEXT NOT NULL, PRIMARY KEY (k, l)) WITHOUT ROWID;
  CREATE TABLE keyed_unique (n INTEGER PRIMARY KEY, u UNIQUE);
  CREATE UNIQUE INDEX keyed_unique_typed ON keyed_unique (typeof(u), hex(CAST(u AS BLOB)));`;

/** Values as SQL, by kind; no two of a kind are equal to SQLite, so all can be keys. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  "integers to ±2^63": [
    "9223372036854775807",
    "-9223372036854775808",
    "-9223372036854775807",
    "9007199254740993",
    "-9007199254740993",
    "4294967296",
    "2147483648",
    "-2147483649",
    "0",
    "-1",
  ],
  "reals: denormals, the largest, infinities, -0.0": [
    "5e-324",
    "-5e-324",
    "2.2250738585072014e-308",
    "1e308",
    "-1.7976931348623157e308",
    "9e999",
    "-9e999",
    "-0.0",
    "0.1",
    "1.0",
    "9007199254740994.0",
    "1e15",
    "9223372036854775808.0",
    "-3.0",
  ],
  "TEXT: empty, numbers, emoji, U+FFFD, a leading BOM, combining letters": [
    "''",
    "' '",
    "'1'",
    "'1.0'",
    "'1e3'",
    "'9223372036854775808'",
    "'NULL'",
    "'👩‍👩‍👧‍👦🇦🇹'",
    "char(0xFFFD)",
    "'a' || char(0xFFFD) || 'b'",
    "char(0xFEFF) || 'after a BOM'",
    "char(0xFEFF)",
    "'é'",
    "'e' || char(0x301)",
    "char(0x10FFFF, 0xFFFF, 0xFFFE)",
    "char(13, 10, 9, 26, 27, 127, 128)",
    "'__proto__'",
  ],
  "TEXT with NUL": [
    "char(0)",
    "char(0, 0)",
    "'a' || char(0)",
    "'a' || char(0) || 'b'",
    "'a' || char(0) || 'c'",
    "char(0) || 'ž'",
    "char(0xFFFD, 0)",
    "char(0xFEFF, 0)",
  ],
  "TEXT that is not UTF-8": [
    "CAST(x'ff' AS TEXT)",
    "CAST(x'fe' AS TEXT)",
    "CAST(x'c328' AS TEXT)",
    "CAST(x'c080' AS TEXT)",
    "CAST(x'eda080' AS TEXT)",
    "CAST(x'f0908d' AS TEXT)",
    "CAST(x'6100ff' AS TEXT)",
    "CAST(x'efbfbdff' AS TEXT)",
    "CAST(x'efbbbfff' AS TEXT)",
    "CAST(x'2031ff' AS TEXT)",
  ],
  "BLOBs: empty, like TEXT, every byte": [
    "x''",
    "x'00'",
    "x'61'",
    "x'31'",
    "x'efbfbd'",
    `x'${Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0")).join("")}'`,
  ],
  "1, '1', x'31' and NULL beside each other": ["1", "'1'", "x'31'", "'1.0'", "NULL", "''", "x''", "0", "'0'"],
};

/** Values for DATETIME and BOOLEAN columns, which the original turned into integers. */
const ODD_TYPED = [
  "'2024-02-30 25:61:61'",
  "'yesterday'",
  "'0000-00-00 00:00:00'",
  "'2024-01-01T00:00:00.123456789+14:00'",
  "1700000000",
  "1700000000.5",
  "'1700000000'",
  "''",
  "2",
  "-1",
  "'true'",
  "x'01'",
  "0.0",
  "NULL",
];

/** Two nodes, and the oracle that is written as they are. */
class Trial implements AsyncDisposable {
  readonly oracle = new DatabaseSync(":memory:");

  private constructor(readonly cluster: Cluster) {
    this.oracle.exec(SCHEMA);
  }

  static async start(options: Pick<ClusterOptions, "flags" | "server">): Promise<Trial> {
    return new Trial(await Cluster.start({ nodes: 2, schema: SCHEMA, ...options }));
  }

  write(nodeId: number, sql: string, ...parameters: Uint8Array[]): void {
    const node: ClusterNode = this.cluster.node(nodeId);
    for (const database of [node.application, this.oracle]) database.prepare(sql).run(...parameters);
  }

  async assertConverged(): Promise<void> {
    for (const node of this.cluster.nodes) {
      assert.ok(node.isRunning, `node ${node.id} has ended:\n${node.log}`);
    }
    assert.deepEqual(await this.cluster.converge({ timeoutMs: 20_000 }), dumpTables(this.oracle));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.oracle.close();
    await this.cluster[Symbol.asyncDispose]();
  }
}

/** Each value goes into every kind of column and key, is changed by the other node, and leaves. */
async function tryValues(trial: Trial, values: readonly string[]): Promise<void> {
  const nodeOf = (i: number) => i % 2 + 1;
  const others = values.map((_, i) => values[(i + 1) % values.length]);
  for (const [i, value] of values.entries()) {
    trial.write(nodeOf(i), `INSERT INTO untyped VALUES (${i}, ${value})`);
    trial.write(nodeOf(i), `INSERT INTO typed VALUES (${i}${`, ${value}`.repeat(6)})`);
    trial.write(nodeOf(i), `INSERT INTO keyed VALUES (${i}, ${value})`);
    trial.write(nodeOf(i), `INSERT INTO keyed_unique VALUES (${i}, ${value})`);
    if (value === "NULL") continue;
    trial.write(nodeOf(i), `INSERT INTO keyed_text VALUES (${i}, quote(${value}), ${value})`);
    trial.write(nodeOf(i), `INSERT INTO keyed_text VALUES (${i}, ${value}, quote(${value}) || 'second')`);
  }
  await trial.assertConverged();
  for (const [i] of values.entries()) {
    const node = nodeOf(i + 1);
    trial.write(node, `UPDATE untyped SET v = ${others[i]} WHERE n = ${i}`);
    trial.write(node, `UPDATE keyed SET n = n + 1000 WHERE n = ${i}`);
    trial.write(node, `UPDATE keyed_text SET n = n + 1000 WHERE n = ${i}`);
    if (i % 3 === 0) trial.write(node, `UPDATE keyed_unique SET u = 'moved ' || ${i} WHERE n = ${i}`);
    if (i % 3 === 1) trial.write(node, `DELETE FROM keyed_unique WHERE n = ${i}`);
  }
  await trial.assertConverged();
  for (const [i] of values.entries()) {
    const node = nodeOf(i);
    if (i % 2 === 0) {
      trial.write(node, `DELETE FROM keyed WHERE n = ${i + 1000}`);
      trial.write(node, `DELETE FROM keyed_text WHERE n = ${i + 1000}`);
    } else {
      trial.write(node, `UPDATE keyed SET k = 'moved ' || ${i} WHERE n = ${i + 1000}`);
      trial.write(node, `UPDATE keyed_text SET k = k || char(0) || l WHERE n = ${i + 1000}`);
    }
  }
  await trial.assertConverged();
  for (const table of ["untyped", "typed", "keyed", "keyed_text", "keyed_unique"]) {
    trial.write(1, `DELETE FROM ${table}`);
  }
  await trial.assertConverged();
}

async function tryStorageClasses(trial: Trial): Promise<void> {
  for (const [i, value] of ["1", "1.0", "'1'", "x'31'", "NULL"].entries()) {
    trial.write(1, `INSERT OR REPLACE INTO untyped VALUES (1, ${value})`);
    trial.write(1, `INSERT INTO untyped VALUES (${10 + i}, ${value})`);
    await trial.assertConverged();
  }
  trial.write(1, "INSERT INTO keyed VALUES (1, 1)");
  await trial.assertConverged();
  for (const key of ["1.0", "1"]) {
    trial.write(2, `UPDATE keyed SET k = ${key}`);
    await trial.assertConverged();
  }
  for (const table of ["untyped", "keyed"]) trial.write(2, `DELETE FROM ${table}`);
  await trial.assertConverged();
}

async function tryOddDates(trial: Trial): Promise<void> {
  for (const [i, value] of ODD_TYPED.entries()) {
    trial.write(1, `INSERT INTO typed (n, d, f) VALUES (${i}, ${value}, ${value})`);
  }
  await trial.assertConverged();
  for (const [i, value] of ODD_TYPED.entries()) {
    trial.write(2, `UPDATE typed SET f = d, d = ${value} WHERE n = ${ODD_TYPED.length - 1 - i}`);
  }
  await trial.assertConverged();
  trial.write(1, "DELETE FROM typed");
  await trial.assertConverged();
}

/** Bytes that do not compress, the same in every run. */
function noise(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer).subarray(0, length);
}

/** Rows far above max_payload go in parts, among small ones of both nodes. */
async function tryLargeRows(trial: Trial, sizes: readonly number[]): Promise<void> {
  for (const [i, size] of sizes.entries()) {
    trial.write(1, `INSERT INTO untyped VALUES (${i}, ?)`, noise(size, i + 1));
    trial.write(2, `INSERT INTO untyped VALUES (${i + 100}, 'small')`);
    trial.write(
      2,
      `INSERT INTO typed (n, t, b) VALUES (${i}, hex(?1), ?1)`,
      noise(Math.ceil(size / 3), i + 50),
    );
  }
  await trial.assertConverged();
  for (const [i, size] of sizes.entries()) {
    trial.write(2, `UPDATE untyped SET v = ? WHERE n = ${i}`, noise(size + 1, i + 70));
    trial.write(1, `UPDATE typed SET t = t || char(0) || CAST(x'ff' AS TEXT) WHERE n = ${i}`);
  }
  await trial.assertConverged();
  for (const table of ["untyped", "typed"]) trial.write(1, `DELETE FROM ${table}`);
  await trial.assertConverged();
}

interface Run {
  readonly with: string;
  readonly options: Pick<ClusterOptions, "flags" | "server">;
  readonly largeRows: readonly number[];
}

const RUNS: readonly Run[] = [
  { with: "as they are", options: {}, largeRows: [0, 1_000_000, 1_048_576, 3_000_000] },
  { with: "compressed", options: { flags: ["-compress"] }, largeRows: [0, 1_048_576, 3_000_000] },
  {
    with: "through a server that takes messages of 8 KiB",
    options: { server: { maxPayloadBytes: 8192 } },
    largeRows: [7000, 7168, 7169, 8192, 300_000],
  },
];

for (const run of RUNS) {
  Deno.test(`hostile values stay exact, ${run.with}`, async (t) => {
    await using trial = await Trial.start(run.options);
    for (const [kind, values] of Object.entries(VALUES)) await t.step(kind, () => tryValues(trial, values));
    await t.step("a value that changes nothing but its storage class", () => tryStorageClasses(trial));
    await t.step("odd dates in a DATETIME, and 2 in a BOOLEAN", () => tryOddDates(trial));
    await t.step(
      `rows of ${run.largeRows.join(", ")} bytes`,
      () => tryLargeRows(trial, run.largeRows),
    );
  });
}
