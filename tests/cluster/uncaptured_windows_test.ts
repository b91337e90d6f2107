/**
 * Tables that are changed while their capture triggers are away: rebuilt by the twelve steps of SQLite's manual, or robbed of
 * their triggers, with the node running or not. What was deleted meanwhile is deleted everywhere, and what the other node has
 * written meanwhile is kept.
 */
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { select, World } from "./hostile_schemas/schema_case.ts";

interface WindowCase {
  readonly name: string;
  readonly schema: string;
  readonly tables: readonly string[];
  readonly run: (world: World) => Promise<void>;
}

/** SQL that takes the capture triggers of a table away. */
function dropTriggers(node: ClusterNode, table: string): string {
  const names = select(
    node,
    `SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB '__marmot__*' AND tbl_name = '${table}'`,
  );
  if (names.length === 0) throw new Error(`table ${table} of node ${node.id} has no capture triggers`);
  return names.map(([name]) => `DROP TRIGGER ${name};`).join(" ");
}

/** A rebuild in one transaction that keeps some of the rows. */
function rebuild(table: string, columns: string, where = "TRUE"): string {
  return `BEGIN; CREATE TABLE ${table}_new (${columns}); INSERT INTO ${table}_new SELECT * FROM ${table} WHERE ${where};` +
    `DROP TABLE ${table}; ALTER TABLE ${table}_new RENAME TO ${table}; COMMIT`;
}

function numbers(from: number, to: number, value: string): string {
  return `WITH RECURSIVE n (i) AS (VALUES (${from}) UNION ALL SELECT i + 1 FROM n WHERE i < ${to}) SELECT i, ${value} FROM n`;
}

const CASES: readonly WindowCase[] = [
  {
    name: "triggers dropped by hand on a running node: rows deleted, written and left alone",
    schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);" +
      "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five');",
    tables: ["t"],
    run: async (world) => {
      const { a, b } = world;
      b.sql("INSERT INTO t VALUES (20, 'right before, from b')");
      a.sql(
        `BEGIN; ${
          dropTriggers(a, "t")
        } DELETE FROM t WHERE id IN (1, 5); UPDATE t SET v = 'TWO' WHERE id = 2;` +
          "INSERT INTO t VALUES (6, 'six'); COMMIT",
      );
      b.sql("INSERT INTO t VALUES (21, 'right after, from b'); UPDATE t SET v = 'THREE' WHERE id = 3");
      a.sql("INSERT INTO t VALUES (7, 'captured again'); DELETE FROM t WHERE id = 4");
      await world.converge();
      world.expect("SELECT id, v FROM t ORDER BY id", [
        [2, "TWO"],
        [3, "THREE"],
        [6, "six"],
        [7, "captured again"],
        [20, "right before, from b"],
        [21, "right after, from b"],
      ]);
    },
  },
  {
    name: "rebuilt while Marmot was down, with deletions: what the other node wrote meanwhile is kept",
    schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);" +
      `INSERT INTO t ${numbers(1, 2000, "'row ' || i")};`,
    tables: ["t"],
    run: async (world) => {
      const { a, b } = world;
      await a.stop();
      a.sql("INSERT INTO t VALUES (5000, 'captured while down')");
      a.sql(rebuild("t", "id INTEGER PRIMARY KEY, v TEXT NOT NULL", "id % 3 <> 0"));
      b.sql("INSERT INTO t VALUES (1000000, 'from b'); UPDATE t SET v = 'changed by b' WHERE id IN (1, 3)");
      await a.start();
      a.sql("INSERT INTO t VALUES (5001, 'after')");
      await world.converge();
      world.expect("SELECT id, v FROM t WHERE id IN (1, 2, 3, 6, 2000) OR id > 2000 ORDER BY id", [
        [1, "changed by b"],
        [2, "row 2"],
        [3, "changed by b"],
        [2000, "row 2000"],
        [5000, "captured while down"],
        [5001, "after"],
        [1000000, "from b"],
      ]);
      world.expect("SELECT count(*) FROM t WHERE id % 3 = 0 AND id <= 2000", [[1]]);
    },
  },
  {
    name: "rebuilt in several transactions, each noticed, with deletions in between",
    schema: "CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v) WITHOUT ROWID;" +
      "INSERT INTO t VALUES ('a', 1), ('B', 2), ('c', 3), ('D', 4), ('e', 5);",
    tables: ["t"],
    run: async (world) => {
      const { a, b } = world;
      const armed = async (sql: string) => {
        const from = a.log.length;
        a.sql(sql);
        await a.waitForLog(/tables armed/, { from });
      };
      await armed("CREATE TABLE t_new (k TEXT PRIMARY KEY COLLATE NOCASE, v) WITHOUT ROWID");
      a.sql("INSERT INTO t_new SELECT * FROM t WHERE k <> 'c'");
      await armed("DROP TABLE t");
      b.sql("INSERT INTO t VALUES ('f', 'from b')");
      a.sql("DELETE FROM t_new WHERE k = 'd'");
      await armed("ALTER TABLE t_new RENAME TO t");
      await world.converge();
      world.expect("SELECT k, v FROM t ORDER BY k", [["a", 1], ["B", 2], ["e", 5], ["f", "from b"]]);
    },
  },
  {
    name:
      "keys of two columns, keys that hold NULL, rows without a key, and UNIQUE values that change places",
    schema: "CREATE TABLE two (a TEXT, b INT, v, PRIMARY KEY (b, a));" +
      "INSERT INTO two VALUES ('x', 1, 1), ('y', 1, 2), ('x', 2, 3), ('y', 2, 4), (NULL, 3, 5), (NULL, 3, 6), ('z', NULL, 7), ('z', 3, 8);" +
      "CREATE TABLE bare (v); INSERT INTO bare VALUES ('one'), ('two'), ('three'), ('four');" +
      "CREATE TABLE uniques (id INTEGER PRIMARY KEY, u TEXT UNIQUE); INSERT INTO uniques VALUES (1, 'x'), (2, 'y'), (3, 'z'), (4, 'w');",
    tables: ["two", "bare", "uniques"],
    run: async (world) => {
      const { a, b } = world;
      a.sql(
        `BEGIN; ${
          dropTriggers(a, "two")
        } DELETE FROM two WHERE v IN (2, 5, 7); INSERT INTO two VALUES (NULL, NULL, 9);` +
          `${dropTriggers(a, "bare")} DELETE FROM bare WHERE v = 'two'; INSERT INTO bare VALUES ('five');` +
          `${
            dropTriggers(a, "uniques")
          } DELETE FROM uniques WHERE id = 4; UPDATE uniques SET u = NULL WHERE id = 1;` +
          "UPDATE uniques SET u = 'x' WHERE id = 3; UPDATE uniques SET u = 'z' WHERE id = 1; COMMIT",
      );
      b.sql("INSERT INTO two VALUES ('y', 9, 'from b'); INSERT INTO uniques VALUES (9, 'from b')");
      await world.converge();
      world.expect("SELECT v FROM two ORDER BY v", [[1], [3], [4], [6], [8], [9], ["from b"]]);
      world.expect("SELECT v FROM bare ORDER BY v", [["five"], ["four"], ["one"], ["three"]]);
      world.expect("SELECT id, u FROM uniques ORDER BY id", [[1, "z"], [2, "y"], [3, "x"], [9, "from b"]]);
    },
  },
  {
    name: "both nodes rebuild at once: no row that either has inserted is lost",
    schema: `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t ${
      numbers(1, 1500, "'row ' || i")
    };`,
    tables: ["t"],
    run: async (world) => {
      for (const node of world.cluster.nodes) {
        const own = `INSERT INTO t VALUES (${node.id * 10_000}, 'in the window of ${node.id}')`;
        const columns = "id INTEGER PRIMARY KEY, v TEXT NOT NULL";
        node.sql(rebuild("t", columns).replace("; COMMIT", `; ${own}; COMMIT`));
      }
      await world.converge();
      world.expect("SELECT id, v FROM t WHERE id > 1500", [
        [10_000, "in the window of 1"],
        [20_000, "in the window of 2"],
      ]);
      world.expect("SELECT count(*) FROM t", [[1502]]);
    },
  },
  {
    name: "the node crashes while its image is under way, and both applications go on writing",
    schema: `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t ${
      numbers(1, 20_000, "'row ' || i")
    };`,
    tables: ["t"],
    run: async (world) => {
      const { a, b } = world;
      const from = a.log.length;
      a.sql(`BEGIN; ${dropTriggers(a, "t")} DELETE FROM t WHERE id % 4 = 0; COMMIT`);
      await a.waitForLog(/without capture/, { from });
      await waitUntil(() => Number(select(b, "SELECT count(*) FROM t")[0]?.[0]) < 20_000, {
        timeoutMs: 20_000,
        what: () => `no piece of the image arrives:\n${b.log}`,
      });
      await a.kill();
      const reached = Number(select(a, "SELECT count(*) FROM __marmot__image WHERE is_done = 0")[0]?.[0]);
      b.sql("INSERT INTO t VALUES (0, 'from b'); UPDATE t SET v = 'b' WHERE id = 19999");
      a.sql("INSERT INTO t VALUES (30000, 'from a'); DELETE FROM t WHERE id = 1");
      await a.start();
      await world.converge();
      if (reached !== 1) {
        throw new Error("the image was published before the node crashed: make the table larger");
      }
      world.expect("SELECT id, v FROM t WHERE id IN (0, 1, 2, 4, 19999, 30000) ORDER BY id", [
        [0, "from b"],
        [2, "row 2"],
        [19999, "b"],
        [30000, "from a"],
      ]);
      world.expect("SELECT count(*) FROM t", [[15_001]]);
    },
  },
  {
    name: "an image that deletes most of a table asks the operator first",
    schema: `CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t ${
      numbers(1, 1200, "'row ' || i")
    };`,
    tables: ["t"],
    run: async (world) => {
      const { a, b } = world;
      a.sql(`BEGIN; ${dropTriggers(a, "t")} DELETE FROM t WHERE id > 100; COMMIT`);
      await b.waitForLog(/rows are missing on another node.*-max-image-deletes 100/s);
      world.cluster.node(1).sql("INSERT INTO t VALUES (5000, 'waits too')");
      await waitUntil(() => select(b, "SELECT id FROM __marmot__parked").length >= 2, {
        timeoutMs: 10_000,
        what: () => `later events do not wait:\n${b.log}`,
      });
      if (Number(select(b, "SELECT count(*) FROM t")[0]?.[0]) !== 1200) throw new Error("rows were deleted");
      await b.stop();
      await b.start({ flags: ["-max-image-deletes", "100"] });
      await world.converge();
      world.expect("SELECT count(*), max(id) FROM t", [[101, 5000]]);
    },
  },
];

for (const { name, schema, tables, run } of CASES) {
  Deno.test(`uncaptured window: ${name}`, async () => {
    await using cluster = await Cluster.start({ nodes: 2, schema });
    await run(new World(cluster, { tables }));
  });
}
