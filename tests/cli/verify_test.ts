import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { runCommandLine } from "../../src/cli/run.ts";
import { TestReplica, upsert } from "../db/test_replica.ts";
import { runCommand } from "../support/command_run.ts";

/** A folder with databases made by these statements. */
class Files implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "marmot-cli-"));

  make(name: string, sql: string): string {
    const path = join(this.folder, name);
    using database = new DatabaseSync(path);
    database.exec(sql);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

Deno.test("marmot verify says that two files are equal, and leaves both as they were", async () => {
  using files = new Files();
  const sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'x'), (2, 'y')";
  const [a, b] = [files.make("a.db", sql), files.make("b.db", sql)];
  const { code, output } = await runCommand(["verify", "-db-path", a, "-against", b]);
  assert.equal(code, 0);
  assert.equal(
    output,
    `compared: ${a}, ${b}\ncursors: all copies have read the same\ntable t: equal, 2 rows\nequal: 1 tables\n`,
  );
  for (const path of [a, b]) {
    using database = new DatabaseSync(path);
    assert.equal(database.prepare("PRAGMA journal_mode").get()?.["journal_mode"], "delete");
    assert.equal(database.prepare("SELECT count(*) AS n FROM sqlite_schema").get()?.["n"], 1);
  }
});

Deno.test("marmot verify names rows, tables and cursors that differ, in text and in JSON", async () => {
  using a = new TestReplica(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE only_a (id INTEGER PRIMARY KEY)",
  );
  using b = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  a.arm();
  b.arm();
  a.apply("t", [upsert(1n, "x"), upsert(2n, 1n), upsert(3n, "only here")]);
  b.apply("t", [upsert(1n, "x"), upsert(2n, 1.0)]);
  b.apply("t", [upsert(4n, "\u001b[2J")]);
  a.application.exec("UPDATE t SET v = 'pending' WHERE id = 1");
  const args = ["verify", "-db-path", a.path, "-against", b.path];
  const { code, output } = await runCommand(args);
  assert.equal(code, 3);
  assert.equal(
    output.replaceAll(a.path, "A").replaceAll(b.path, "B"),
    [
      "compared: A (node 1), B (node 1)",
      "cursors: the copies have not read the same, so rows may differ that will be equal:",
      "  s: A 1, B 2",
      "table only_a: not compared",
      "  no such table: B",
      "table t: differing, 3 rows, 1 keys left out whose changes are on their way",
      "  id = 2: B differs from A",
      "  id = 3: missing on B",
      "  id = 4: missing on A",
      "different: 2 of 2 tables",
      "",
    ].join("\n"),
  );
  const json = await runCommand([...args, "-json", "-limit", "1"]);
  assert.equal(json.code, 3);
  const report = JSON.parse(json.output);
  assert.equal(report.verdict, "different");
  const table = report.tables.find((each: { name: string }) => each.name === "t");
  assert.deepEqual([table.pendingKeys, table.differingKeys, table.differences.length], [1, 3, 1]);
  const limited = await runCommand([...args, "-limit", "1"]);
  assert.match(limited.output, /\n {2}and 2 more: -limit 3 names all\n/);
});

Deno.test("a key that would steer a terminal is shown without doing so", async () => {
  using files = new Files();
  const a = files.make(
    "a.db",
    "CREATE TABLE t (k TEXT PRIMARY KEY); INSERT INTO t VALUES (char(27) || '[2J' || char(155))",
  );
  const b = files.make("b.db", "CREATE TABLE t (k TEXT PRIMARY KEY)");
  const { output } = await runCommand(["verify", "-db-path", a, "-against", b]);
  assert.match(output, /missing on/);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(output.replaceAll("\n", ""), /[\u0000-\u001f\u007f-\u009f]/);
});

Deno.test("tables that are parked or cannot be read are not called equal", async () => {
  using a = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  using b = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  a.arm();
  b.arm();
  a.apply("t", [upsert(1n, 2n)], { columns: ["id", "not here"], key: [0] });
  const { code, output } = await runCommand(["verify", "-db-path", a.path, "-against", b.path]);
  assert.equal(code, 1);
  assert.match(output, /\nincomplete: 1 of 1 tables and 0 copies could not be compared\n$/);
});

Deno.test("marmot verify says in one sentence what it cannot read", async () => {
  using files = new Files();
  const good = files.make("good.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const text = join(files.folder, "text.db");
  writeFileSync(text, "this is no database, but longer than the header of one is: ".repeat(20));
  const cases: [string[], number, RegExp][] = [
    [
      ["-against", join(files.folder, "none.db")],
      1,
      /^marmot: Cannot open the database ".*none\.db": there is no such file$/,
    ],
    [
      ["-against", text],
      1,
      /^marmot: Cannot open the database ".*text\.db": the file is not an SQLite database$/,
    ],
    [[], 2, /^marmot: Cannot use -db-path without -against: a file is compared with another file, /],
    [["-json", "-limit", "5"], 2, /^marmot: Cannot use -db-path without -against: /],
    [["-against", ""], 2, /^marmot: Cannot use -against "": it must name a file$/],
    [["-nats-url", "http://x"], 2, /^marmot: Cannot use -nats-url: /],
    [["file.db"], 2, /^marmot: Cannot use "file\.db": marmot verify takes no such word/],
  ];
  for (const [args, exitCode, sentence] of cases) {
    const { code, error } = await runCommand(["verify", "-db-path", good, ...args]);
    assert.equal(code, exitCode, error);
    assert.match(error.split("\n")[0] ?? "", sentence);
  }
});

Deno.test("a signal ends verify without calling anything equal", async () => {
  using files = new Files();
  const path = files.make(
    "a.db",
    "CREATE TABLE t (id INTEGER PRIMARY KEY); WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 300000) INSERT INTO t SELECT i FROM c",
  );
  const stop = new AbortController();
  let error = "";
  const terminal = {
    writeOutput() {},
    writeError: (text: string) => void (error += text),
    confirm: () => null,
  };
  const running = runCommandLine(["verify", "-db-path", path, "-against", path], {
    terminal,
    stop: stop.signal,
  });
  stop.abort(new DOMException("stopped by SIGINT", "AbortError"));
  assert.equal(await running, 1);
  assert.equal(error, "marmot: Cannot say whether all is equal: stopped by SIGINT\n");
});
