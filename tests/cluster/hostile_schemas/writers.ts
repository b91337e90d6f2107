/** Who writes, and how: rollbacks, VACUUM, distrustful connections, other languages, the sqlite3 shell. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { DatabaseSync } from "node:sqlite";
import type { ClusterNode } from "../../support/cluster.ts";
import type { SchemaCase } from "./schema_case.ts";

function run(command: string, args: readonly string[], input: string): void {
  const done = spawnSync(command, args, { input, encoding: "utf8", timeout: 20_000 });
  assert.equal(done.status, 0, `${command}: ${done.stderr ?? ""}${done.error ?? ""}`);
  assert.equal(done.stderr, "");
}

function isInstalled(command: string): boolean {
  return spawnSync(command, ["--version"]).status === 0;
}

/** A further connection to the node's database, as another part of the application has. */
function withConnection(node: ClusterNode, pragmas: string, sql: string): void {
  const database = new DatabaseSync(node.path, { timeout: 10_000 });
  try {
    database.exec(pragmas);
    database.exec(sql);
  } finally {
    database.close();
  }
}

export const writerCases: readonly SchemaCase[] = [
  {
    name: "rollback and savepoints: only what was committed travels",
    schema: "CREATE TABLE undone (id INTEGER PRIMARY KEY, v TEXT UNIQUE);",
    tables: ["undone"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("BEGIN; INSERT INTO undone VALUES (1, 'never'); ROLLBACK");
      a.sql(
        "BEGIN; INSERT INTO undone VALUES (1, 'one'); SAVEPOINT s; INSERT INTO undone VALUES (2, 'never');" +
          "UPDATE undone SET v = 'nor this' WHERE id = 1; ROLLBACK TO s; INSERT INTO undone VALUES (3, 'three');" +
          "SAVEPOINT t; DELETE FROM undone WHERE id = 1; INSERT INTO undone VALUES (1, 'again'); RELEASE t; COMMIT",
      );
      b.sql("SAVEPOINT outer; INSERT INTO undone VALUES (4, 'four'); RELEASE outer");
      await world.converge();
      world.expect("SELECT * FROM undone ORDER BY id", [[1, "again"], [3, "three"], [4, "four"]]);
      assert.throws(() => b.sql("INSERT INTO undone VALUES (5, 'five'), (6, 'four')"));
      b.sql("INSERT OR FAIL INTO undone VALUES (7, 'seven')");
      assert.throws(() => b.sql("INSERT OR FAIL INTO undone VALUES (8, 'eight'), (9, 'four')"));
      await world.converge();
      world.expect("SELECT id FROM undone WHERE id > 4 ORDER BY id", [[7], [8]]);
    },
  },
  {
    name: "VACUUM by the application",
    schema:
      "CREATE TABLE packed (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE packed_text (k TEXT PRIMARY KEY, v TEXT);",
    tables: ["packed", "packed_text"],
    run: async (world) => {
      const { a, b } = world;
      a.sql(
        "INSERT INTO packed VALUES (1, 'a'), (5, 'b'), (9, 'c'); INSERT INTO packed_text (rowid, k, v) VALUES (10, 'x', ''), (20, 'y', '')",
      );
      a.sql("VACUUM");
      a.sql("DELETE FROM packed WHERE id = 5; DELETE FROM packed_text WHERE k = 'x'");
      await world.converge();
      b.sql("VACUUM; INSERT INTO packed VALUES (7, 'd'); UPDATE packed_text SET v = 'after'");
      await world.converge();
      a.sql("INSERT INTO packed VALUES (8, 'e')");
      await world.converge();
      world.expect("SELECT * FROM packed ORDER BY id", [[1, "a"], [7, "d"], [8, "e"], [9, "c"]]);
      world.expect("SELECT * FROM packed_text", [["y", "after"]]);
    },
  },
  {
    name: "connections with trusted_schema off, and with recursive triggers on",
    schema: `CREATE TABLE distrust (id INTEGER PRIMARY KEY, v TEXT, w TEXT);
      CREATE UNIQUE INDEX distrust_v ON distrust (lower(v)) WHERE w IS NOT NULL;`,
    tables: ["distrust"],
    run: async (world) => {
      const { a, b } = world;
      withConnection(
        a,
        "PRAGMA trusted_schema = OFF",
        "INSERT INTO distrust VALUES (1, 'a', 'w'), (2, 'b', 'w'); UPDATE distrust SET v = 'aa' WHERE id = 1",
      );
      await world.converge();
      withConnection(
        b,
        "PRAGMA trusted_schema = OFF; PRAGMA recursive_triggers = ON",
        "INSERT OR REPLACE INTO distrust VALUES (3, 'AA', 'x')",
      );
      await world.converge();
      withConnection(
        a,
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON",
        "DELETE FROM distrust WHERE id = 2",
      );
      await world.converge();
      world.expect("SELECT * FROM distrust ORDER BY id", [[3, "AA", "x"]]);
    },
  },
  {
    name: "Python's sqlite3 as a writer",
    schema: "CREATE TABLE python (id INTEGER PRIMARY KEY, v, u TEXT UNIQUE);",
    tables: ["python"],
    run: async (world) => {
      const { a, b } = world;
      const script = (body: string) =>
        `import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=10)\n${body}\nc.commit()\nc.close()\n`;
      run(
        "python3",
        ["-", a.path],
        script(
          "c.executemany('INSERT INTO python VALUES (?, ?, ?)', [(i, i * 0.5, f'u{i}') for i in range(200)])",
        ),
      );
      run(
        "python3",
        ["-", b.path],
        script("c.execute('INSERT INTO python VALUES (?, ?, ?)', (1000, b'\\x00\\xff', 'naïve'))"),
      );
      await world.converge();
      run(
        "python3",
        ["-", b.path],
        script(
          "c.execute('DELETE FROM python WHERE id BETWEEN 5 AND 199')\nc.execute('REPLACE INTO python VALUES (1001, NULL, ?)', ('u3',))",
        ),
      );
      await world.converge();
      world.expect("SELECT id, quote(v), u FROM python ORDER BY id", [
        [0, "0.0", "u0"],
        [1, "0.5", "u1"],
        [2, "1.0", "u2"],
        [4, "2.0", "u4"],
        [1000, "X'00FF'", "naïve"],
        [1001, "NULL", "u3"],
      ]);
    },
  },
  ...isInstalled("sqlite3")
    ? [
      {
        name: "the sqlite3 shell as a writer, in defensive mode too",
        schema: "CREATE TABLE shell (id INTEGER PRIMARY KEY, v TEXT UNIQUE);",
        tables: ["shell"],
        run: async (world) => {
          const { a, b } = world;
          run("sqlite3", ["-bail", a.path], ".timeout 10000\nINSERT INTO shell VALUES (1, 'a'), (2, 'b');\n");
          run("sqlite3", ["-bail", b.path], ".timeout 10000\nINSERT INTO shell VALUES (3, 'c');\n");
          await world.converge();
          run(
            "sqlite3",
            ["-bail", b.path],
            ".timeout 10000\n.dbconfig defensive on\nPRAGMA trusted_schema = OFF;\nBEGIN;\nREPLACE INTO shell VALUES (9, 'a');\nUPDATE shell SET v = 'B' WHERE id = 2;\nCOMMIT;\n",
          );
          await world.converge();
          world.expect("SELECT * FROM shell ORDER BY id", [[2, "B"], [3, "c"], [9, "a"]]);
        },
      } satisfies SchemaCase,
    ]
    : [],
];
