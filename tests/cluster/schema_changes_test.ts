/**
 * Schema changes while nodes run, on one node first and then on the other. What is written right before and right after
 * each is captured, and what does not fit the other node's schema yet waits there until it does.
 */
import assert from "node:assert/strict";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { type SchemaCase, select, World } from "./hostile_schemas/schema_case.ts";

/** Waits until a query gives on one node what is expected of it alone. */
async function waitForRows(
  node: ClusterNode,
  sql: string,
  rows: readonly (readonly unknown[])[],
): Promise<void> {
  const wanted = JSON.stringify(rows);
  await waitUntil(() => JSON.stringify(select(node, sql)) === wanted, {
    timeoutMs: 10_000,
    what: () =>
      `node ${node.id}: ${sql} gives ${JSON.stringify(select(node, sql))}, not ${wanted}\n${node.log}`,
  });
}

function waitUntilParked(node: ClusterNode, table: string): Promise<void> {
  return waitForRows(node, `SELECT DISTINCT table_name FROM __marmot__parked WHERE table_name = '${table}'`, [
    [table],
  ]);
}

const CASES: readonly SchemaCase[] = [
  {
    name: "VACUUM renumbers the rows of a table without a key: the other node follows",
    schema:
      "CREATE TABLE vacuumed (v TEXT); INSERT INTO vacuumed (rowid, v) VALUES (3, 'three'), (7, 'seven'), (8, 'eight');",
    tables: ["vacuumed"],
    run: async (world) => {
      const { a, b } = world;
      b.sql("INSERT INTO vacuumed (rowid, v) VALUES (20, 'from b')");
      await world.converge();
      a.sql("VACUUM");
      await waitForRows(b, "SELECT rowid, v FROM vacuumed ORDER BY rowid", [[1, "three"], [2, "seven"], [
        3,
        "eight",
      ], [4, "from b"]]);
      await world.converge();
    },
  },
  {
    name: "CREATE TABLE: its rows wait at the other node until that creates the table as well",
    schema: "",
    tables: ["made"],
    run: async (world) => {
      const { a, b } = world;
      const create = "CREATE TABLE made (id INTEGER PRIMARY KEY, v TEXT)";
      a.sql(`BEGIN; ${create}; INSERT INTO made VALUES (1, 'in the same transaction'); COMMIT`);
      a.sql("INSERT INTO made VALUES (2, 'right after')");
      await waitUntilParked(b, "made");
      a.sql(
        "UPDATE made SET v = 'changed while parked' WHERE id = 2; INSERT INTO made VALUES (3, 'goes'); DELETE FROM made WHERE id = 3",
      );
      b.sql(`${create}; INSERT INTO made VALUES (10, 'from b')`);
      await world.converge();
      b.sql("UPDATE made SET v = v || '!'");
      await world.converge();
      world.expect("SELECT * FROM made ORDER BY id", [
        [1, "in the same transaction!"],
        [2, "changed while parked!"],
        [10, "from b!"],
      ]);
    },
  },
  {
    name: "CREATE TABLE on both nodes at once, with rows",
    schema: "",
    tables: ["made_twice"],
    run: async (world) => {
      for (const node of world.cluster.nodes) {
        node.sql(
          `CREATE TABLE made_twice (k TEXT PRIMARY KEY, n INT); INSERT INTO made_twice VALUES ('of ${node.id}', ${node.id})`,
        );
      }
      await world.converge();
      world.expect("SELECT * FROM made_twice ORDER BY n", [["of 1", 1], ["of 2", 2]]);
    },
  },
  {
    name: "ALTER TABLE ADD COLUMN",
    schema: "CREATE TABLE grown (id INTEGER PRIMARY KEY, v TEXT);",
    tables: ["grown"],
    run: async (world) => {
      const { a, b } = world;
      const alter = "ALTER TABLE grown ADD COLUMN w TEXT DEFAULT 'default'";
      a.sql(`INSERT INTO grown VALUES (1, 'before'); ${alter}; INSERT INTO grown VALUES (2, 'after', 'w2')`);
      a.sql("UPDATE grown SET w = 'w1' WHERE id = 1");
      await waitUntilParked(b, "grown");
      b.sql("INSERT INTO grown VALUES (11, 'from b')");
      await waitForRows(a, "SELECT v, w FROM grown WHERE id = 11", [["from b", "default"]]);
      b.sql(
        `INSERT INTO grown VALUES (12, 'right before'); ${alter}; INSERT INTO grown VALUES (13, 'right after', 'w13')`,
      );
      await world.converge();
      world.expect("SELECT * FROM grown ORDER BY id", [
        [1, "before", "w1"],
        [2, "after", "w2"],
        [11, "from b", "default"],
        [12, "right before", "default"],
        [13, "right after", "w13"],
      ]);
    },
  },
  {
    name: "ALTER TABLE RENAME COLUMN, of a key and of a UNIQUE column too",
    schema: "CREATE TABLE renamed (k TEXT PRIMARY KEY, u TEXT UNIQUE, v TEXT);" +
      "CREATE UNIQUE INDEX renamed_lower ON renamed (lower(v));",
    tables: ["renamed"],
    run: async (world) => {
      const { a, b } = world;
      const alters = ["k TO key", "u TO mail", "v TO note"].map((rename) =>
        `ALTER TABLE renamed RENAME COLUMN ${rename}`
      );
      a.sql("INSERT INTO renamed VALUES ('1', 'u1', 'right before')");
      for (const [i, alter] of alters.entries()) {
        a.sql(`${alter}; INSERT INTO renamed VALUES ('a${i}', 'ua${i}', 'va${i}')`);
      }
      await waitUntilParked(b, "renamed");
      b.sql("INSERT INTO renamed (k, u, v) VALUES ('11', 'u11', 'from b')");
      await waitForRows(a, "SELECT mail, note FROM renamed WHERE key = '11'", [["u11", "from b"]]);
      for (const [i, alter] of alters.entries()) {
        b.sql(`${alter}; INSERT INTO renamed VALUES ('b${i}', 'ub${i}', 'vb${i}')`);
      }
      await world.converge();
      b.sql("INSERT OR REPLACE INTO renamed (key, mail, note) VALUES ('last', 'ua0', 'VB1')");
      await world.converge();
      world.expect("SELECT key, mail, note FROM renamed ORDER BY key", [
        ["1", "u1", "right before"],
        ["11", "u11", "from b"],
        ["a1", "ua1", "va1"],
        ["a2", "ua2", "va2"],
        ["b0", "ub0", "vb0"],
        ["b2", "ub2", "vb2"],
        ["last", "ua0", "VB1"],
      ]);
    },
  },
  {
    name: "ALTER TABLE DROP COLUMN, beside UNIQUE indexes on others",
    schema: "CREATE TABLE shrunk (id INTEGER PRIMARY KEY, x TEXT, u TEXT UNIQUE, v TEXT);" +
      "CREATE UNIQUE INDEX shrunk_lower ON shrunk (lower(v)) WHERE u IS NOT NULL;",
    tables: ["shrunk"],
    run: async (world) => {
      const { a, b } = world;
      const alter = "ALTER TABLE shrunk DROP COLUMN x";
      a.sql("INSERT INTO shrunk VALUES (1, 'x1', 'u1', 'v1')");
      await world.converge();
      a.sql(
        `UPDATE shrunk SET x = 'new', v = 'before' WHERE id = 1; ${alter}; INSERT INTO shrunk VALUES (2, 'u2', 'after')`,
      );
      await waitForRows(b, "SELECT v, x FROM shrunk WHERE id = 2", [["after", null]]);
      b.sql("INSERT INTO shrunk VALUES (11, 'x11', 'u11', 'from b')");
      await waitForRows(a, "SELECT u, v FROM shrunk WHERE id = 11", [["u11", "from b"]]);
      b.sql(
        `UPDATE shrunk SET x = '?', v = 'right before' WHERE id = 11; ${alter}; INSERT INTO shrunk VALUES (12, 'u12', 'right after')`,
      );
      await world.converge();
      world.expect("SELECT * FROM shrunk ORDER BY id", [
        [1, "u1", "before"],
        [2, "u2", "after"],
        [11, "u11", "right before"],
        [12, "u12", "right after"],
      ]);
    },
  },
  {
    name: "ALTER TABLE RENAME TO",
    schema: "CREATE TABLE old_name (id INTEGER PRIMARY KEY, v TEXT UNIQUE);",
    tables: ["old_name", "new_name"],
    run: async (world) => {
      const { a, b } = world;
      const alter = "ALTER TABLE old_name RENAME TO new_name";
      a.sql("INSERT INTO old_name VALUES (1, 'one'), (2, 'two')");
      await world.converge();
      a.sql(
        `INSERT INTO old_name VALUES (3, 'right before'); ${alter}; INSERT INTO new_name VALUES (4, 'right after'); DELETE FROM new_name WHERE id = 1`,
      );
      // Nobody waits for anybody: the other node takes it under the name that it still has.
      await waitForRows(b, "SELECT v FROM old_name WHERE id = 4", [["right after"]]);
      b.sql("INSERT INTO old_name VALUES (11, 'from b')");
      await waitForRows(a, "SELECT v FROM new_name WHERE id = 11", [["from b"]]);
      b.sql(
        `INSERT INTO old_name VALUES (12, 'before b'); ${alter}; INSERT INTO new_name VALUES (13, 'after b')`,
      );
      await world.converge();
      world.expect("SELECT * FROM new_name ORDER BY id", [
        [2, "two"],
        [3, "right before"],
        [4, "right after"],
        [11, "from b"],
        [12, "before b"],
        [13, "after b"],
      ]);
    },
  },
  {
    name: "DROP TABLE, and a new table of the same name with other columns",
    schema: "CREATE TABLE gone (id INTEGER PRIMARY KEY, v TEXT, w TEXT);",
    tables: ["gone"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO gone VALUES (1, 'a', 'b')");
      await world.converge();
      a.sql("INSERT INTO gone VALUES (2, 'right before', ''); DROP TABLE gone");
      b.sql("INSERT INTO gone VALUES (3, 'nobody misses me', '')");
      await a.waitForLog(/table was dropped table=gone/);
      // An event of the old table that came after the new one was made would be one that never fits.
      await world.readAll();
      b.sql("DROP TABLE gone");
      await b.waitForLog(/table was dropped table=gone/);
      for (const node of [a, b]) node.sql("CREATE TABLE gone (k TEXT PRIMARY KEY, n INT) WITHOUT ROWID");
      a.sql("INSERT INTO gone VALUES ('x', 1)");
      b.sql("INSERT INTO gone VALUES ('y', 2)");
      await world.converge();
      world.expect("SELECT * FROM gone ORDER BY k", [["x", 1], ["y", 2]]);
    },
  },
  {
    name: "the rebuild of SQLite's manual in one transaction",
    schema: "CREATE TABLE rebuilt (id INTEGER PRIMARY KEY, v TEXT, n TEXT);",
    tables: ["rebuilt"],
    run: async (world) => {
      const { a, b } = world;
      const rebuild = "PRAGMA foreign_keys = OFF; BEGIN;" +
        "CREATE TABLE rebuilt_new (id INTEGER PRIMARY KEY, n INT NOT NULL CHECK (n > 0), v TEXT NOT NULL UNIQUE);" +
        "INSERT INTO rebuilt_new (id, v, n) SELECT id, v, n FROM rebuilt; DROP TABLE rebuilt;" +
        "ALTER TABLE rebuilt_new RENAME TO rebuilt; COMMIT; PRAGMA foreign_keys = ON;";
      a.sql("INSERT INTO rebuilt VALUES (1, 'one', '1'), (2, 'two', '2'), (3, 'three', '3')");
      await world.converge();
      a.sql("UPDATE rebuilt SET v = 'right before' WHERE id = 1; DELETE FROM rebuilt WHERE id = 3");
      a.sql(
        `${rebuild} UPDATE rebuilt SET v = 'right after' WHERE id = 2; INSERT INTO rebuilt (id, v, n) VALUES (4, 'new', 4)`,
      );
      b.sql("INSERT INTO rebuilt (id, v, n) VALUES (11, 'from b', '11')");
      await waitForRows(a, "SELECT v, typeof(n) FROM rebuilt WHERE id = 11", [["from b", "integer"]]);
      await waitForRows(b, "SELECT count(*) FROM rebuilt", [[4]]);
      b.sql(
        `UPDATE rebuilt SET v = 'before b' WHERE id = 11; ${rebuild} INSERT INTO rebuilt (id, v, n) VALUES (12, 'after b', 12)`,
      );
      await world.converge();
      world.expect("SELECT id, n, v FROM rebuilt ORDER BY id", [
        [1, 1, "right before"],
        [2, 2, "right after"],
        [4, 4, "new"],
        [11, 11, "before b"],
        [12, 12, "after b"],
      ]);
    },
  },
  {
    name: "the rebuild in several steps, with writes between them",
    schema: "CREATE TABLE stepped (id INTEGER PRIMARY KEY, v TEXT);",
    tables: ["stepped"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO stepped VALUES (1, 'one'), (2, 'two')");
      await world.converge();
      for (const [node, next] of [[a, 3], [b, 5]] as const) {
        const from = node.log.length;
        node.sql(`INSERT INTO stepped VALUES (${next}, 'right before of ${node.id}')`);
        node.sql("CREATE TABLE stepped_new (id INTEGER PRIMARY KEY, v TEXT, w INT DEFAULT 7)");
        await node.waitForLog(/tables armed/, { from });
        // OR REPLACE: what the first node published of its stepped_new is here by now, or comes in between.
        node.sql("INSERT OR REPLACE INTO stepped_new (id, v) SELECT id, v FROM stepped");
        node.sql("UPDATE stepped_new SET w = 8 WHERE id = 1");
        // In one transaction: a node that saw the table gone would take what comes for it as of no use.
        node.sql("BEGIN; DROP TABLE stepped; ALTER TABLE stepped_new RENAME TO stepped; COMMIT");
        node.sql(`INSERT INTO stepped VALUES (${next + 1}, 'right after of ${node.id}', 9)`);
      }
      await world.converge();
      a.sql("UPDATE stepped SET v = 'last' WHERE id = 6; DELETE FROM stepped WHERE id = 2");
      await world.converge();
      world.expect("SELECT * FROM stepped ORDER BY id", [
        [1, "one", 8],
        [3, "right before of 1", 7],
        [4, "right after of 1", 9],
        [5, "right before of 2", 7],
        [6, "last", 9],
      ]);
    },
  },
  {
    name: "CREATE UNIQUE INDEX and DROP INDEX while running",
    schema: "CREATE TABLE indexed (id INTEGER PRIMARY KEY, u TEXT, v TEXT);",
    tables: ["indexed"],
    run: async (world) => {
      const { a, b } = world;
      const create = "CREATE UNIQUE INDEX indexed_u ON indexed (u COLLATE NOCASE)";
      a.sql("INSERT INTO indexed VALUES (1, 'a', ''), (2, 'b', ''), (3, 'c', '')");
      await world.converge();
      a.sql(
        `UPDATE indexed SET v = 'right before' WHERE id = 1; ${create}; UPDATE indexed SET v = 'right after' WHERE id = 2`,
      );
      b.sql(
        `INSERT INTO indexed VALUES (11, 'k', 'right before'); ${create}; INSERT INTO indexed VALUES (12, 'l', 'right after')`,
      );
      await world.converge();
      b.sql("INSERT OR REPLACE INTO indexed VALUES (13, 'C', 'replaces 3')");
      a.sql(
        "BEGIN; UPDATE indexed SET u = '~' WHERE id = 1; UPDATE indexed SET u = 'a' WHERE id = 2; UPDATE indexed SET u = 'b' WHERE id = 1; COMMIT",
      );
      await world.converge();
      world.expect("SELECT * FROM indexed ORDER BY id", [
        [1, "b", "right before"],
        [2, "a", "right after"],
        [11, "k", "right before"],
        [12, "l", "right after"],
        [13, "C", "replaces 3"],
      ]);
      for (const node of [a, b]) {
        const from = node.log.length;
        node.sql("DROP INDEX indexed_u");
        await node.waitForLog(/tables armed/, { from });
      }
      a.sql("UPDATE indexed SET u = 'same'");
      await world.converge();
      for (const node of [a, b]) node.sql("ALTER TABLE indexed DROP COLUMN u");
      b.sql("INSERT INTO indexed VALUES (20, 'after all')");
      await world.converge();
      world.expect("SELECT count(*), max(id) FROM indexed", [[6, 20]]);
    },
  },
  {
    name: "a UNIQUE index on one node alone holds for both, while it comes and while it goes",
    schema: "CREATE TABLE half (id INTEGER PRIMARY KEY, u TEXT, v TEXT);",
    tables: ["half"],
    run: async (world) => {
      const { a, b } = world;
      const from = { a: a.log.length, b: b.log.length };
      a.sql("INSERT INTO half VALUES (1, 'x', 'of a'); CREATE UNIQUE INDEX half_u ON half (u)");
      await a.waitForLog(/tables armed/, { from: from.a });
      await world.converge();
      b.sql("INSERT INTO half VALUES (2, 'x', 'of b'), (3, 'y', 'of b')");
      await world.converge();
      world.expect("SELECT * FROM half ORDER BY id", [[2, "x", "of b"], [3, "y", "of b"]]);
      b.sql("CREATE UNIQUE INDEX half_u ON half (u)");
      await b.waitForLog(/tables armed/, { from: from.b });
      await world.converge();
      a.sql("DROP INDEX half_u");
      a.sql("INSERT INTO half VALUES (4, 'y', 'of a')");
      await world.converge();
      world.expect("SELECT * FROM half ORDER BY id", [[2, "x", "of b"], [4, "y", "of a"]]);
      b.sql("DROP INDEX half_u; INSERT INTO half VALUES (5, 'y', 'of b')");
      await world.converge();
      world.expect("SELECT count(*) FROM half WHERE u = 'y'", [[2]]);
    },
  },
  {
    name: "a column called rowid comes to a table that is keyed by its rowid",
    schema: "CREATE TABLE keyless (v TEXT);",
    tables: ["keyless"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO keyless (v) VALUES ('one'), ('two')");
      await world.converge();
      for (const node of [a, b]) {
        const from = node.log.length;
        node.sql("ALTER TABLE keyless ADD COLUMN rowid TEXT");
        await node.waitForLog(/tables armed/, { from });
      }
      b.sql(
        "INSERT INTO keyless (v, rowid) VALUES ('three', 'not a rowid'); DELETE FROM keyless WHERE v = 'one'",
      );
      await world.converge();
      world.expect("SELECT _rowid_, v, rowid FROM keyless ORDER BY 1", [[2, "two", null], [
        3,
        "three",
        "not a rowid",
      ]]);
    },
  },
  {
    name: "triggers of the application that come while nodes run act once",
    schema:
      "CREATE TABLE shelf (id INTEGER PRIMARY KEY, n INT); CREATE TABLE box (id INTEGER PRIMARY KEY, shelf INT);",
    tables: ["shelf", "box"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO shelf VALUES (1, 0), (2, 0); INSERT INTO box VALUES (1, 1), (2, 2), (3, 2)");
      await world.converge();
      for (const node of [a, b]) {
        node.sql(
          "CREATE TRIGGER shelf_d AFTER DELETE ON shelf BEGIN DELETE FROM box WHERE shelf = OLD.id; END",
        );
        node.sql(
          "CREATE TRIGGER box_i AFTER INSERT ON box BEGIN UPDATE shelf SET n = n + 1 WHERE id = NEW.shelf; END",
        );
        node.sql(
          "CREATE TRIGGER shelf_u BEFORE UPDATE ON shelf WHEN NEW.n > 1 BEGIN SELECT RAISE(ABORT, 'full'); END",
        );
      }
      a.sql("INSERT INTO box VALUES (4, 1)");
      b.sql("DELETE FROM shelf WHERE id = 2");
      await world.converge();
      assert.throws(() => b.sql("INSERT INTO box VALUES (5, 1)"), /full/);
      world.expect("SELECT * FROM shelf", [[1, 1]]);
      world.expect("SELECT * FROM box ORDER BY id", [[1, 1], [4, 1]]);
    },
  },
  {
    name: "a schema change while the node is stopped",
    schema:
      "CREATE TABLE asleep (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE asleep_rebuilt (id INTEGER PRIMARY KEY, v TEXT);",
    tables: ["asleep", "asleep_rebuilt", "made_asleep"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO asleep VALUES (1, 'one'); INSERT INTO asleep_rebuilt VALUES (1, 'one'), (2, 'two')");
      await world.converge();
      assert.equal(await a.stop(), 0);
      const change =
        "ALTER TABLE asleep ADD COLUMN w INT DEFAULT 5; CREATE TABLE made_asleep (k TEXT PRIMARY KEY);" +
        "BEGIN; CREATE TABLE copied (id INTEGER PRIMARY KEY, v TEXT, w INT DEFAULT 6); INSERT INTO copied (id, v) SELECT id, v FROM asleep_rebuilt;" +
        "DROP TABLE asleep_rebuilt; ALTER TABLE copied RENAME TO asleep_rebuilt; COMMIT;";
      a.sql(
        `INSERT INTO asleep VALUES (2, 'right before'); ${change} INSERT INTO asleep VALUES (3, 'right after', 8);
        UPDATE asleep_rebuilt SET v = 'not captured' WHERE id = 1; INSERT INTO asleep_rebuilt VALUES (3, 'new', 9);
        INSERT INTO made_asleep VALUES ('a')`,
      );
      b.sql("INSERT INTO asleep VALUES (11, 'from b'); INSERT INTO asleep_rebuilt VALUES (11, 'from b')");
      await a.start();
      await waitUntilParked(b, "asleep");
      b.sql(change);
      await world.converge();
      world.expect("SELECT * FROM asleep ORDER BY id", [
        [1, "one", 5],
        [2, "right before", 5],
        [3, "right after", 8],
        [11, "from b", 5],
      ]);
      world.expect("SELECT * FROM asleep_rebuilt ORDER BY id", [
        [1, "not captured", 6],
        [2, "two", 6],
        [3, "new", 9],
        [11, "from b", 6],
      ]);
      world.expect("SELECT k FROM made_asleep", [["a"]]);
    },
  },
];

Deno.test("two nodes replicate through schema changes while they run", async (t) => {
  await using cluster = await Cluster.start({ nodes: 2, schema: CASES.map((one) => one.schema).join("\n") });
  for (const one of CASES) await t.step(one.name, () => one.run(new World(cluster, one)));
  await t.step("nothing is parked at the end but what names a table that was never there", () => {
    for (const node of cluster.nodes) {
      const parked = select(node, "SELECT DISTINCT table_name FROM __marmot__parked ORDER BY 1");
      assert.deepEqual(parked.filter(([table]) => table !== "stepped_new"), []);
      assert.deepEqual(select(node, "SELECT count(*) FROM __marmot__quarantine"), [[0]]);
    }
  });
});
