/** Shapes of tables: very wide, STRICT, generated, searched, with columns that hide the rowid. */
import assert from "node:assert/strict";
import { lifeCase, type SchemaCase, select, type World } from "./schema_case.ts";

function wideCase(columns: number): SchemaCase {
  const table = `wide_${columns}`;
  const names = Array.from({ length: columns - 1 }, (_, i) => `c${i}`);
  const values = (seed: number) =>
    names.map((_, i) =>
      i % 4 === 0 ? String(i + seed) : i % 4 === 1 ? `${i}.5` : i % 4 === 2 ? "NULL" : `'é${i}'`
    )
      .join(", ");
  return {
    name: `a table of ${columns} columns`,
    schema: `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, ${names.join(", ")});`,
    tables: [table],
    run: async (world) => {
      const { a, b } = world;
      a.sql(`INSERT INTO ${table} VALUES (1, ${values(1)}), (2, ${values(2)})`);
      b.sql(`INSERT INTO ${table} VALUES (3, ${values(3)})`);
      await world.converge();
      const last = names.at(-1);
      b.sql(`UPDATE ${table} SET ${last} = 'last', c0 = x'00', c1 = 'a' || char(0) || 'b' WHERE id = 1`);
      a.sql(`DELETE FROM ${table} WHERE id = 2`);
      await world.converge();
      world.expect(`SELECT id, c4, c5, c6, c7, hex(c1), ${last} FROM ${table} ORDER BY id`, [
        [1, 5, 5.5, null, "é7", "610062", "last"],
        [3, 7, 5.5, null, "é7", "312E35", (columns - 2) % 4 === 3 ? `é${columns - 2}` : null],
      ]);
    },
  };
}

const FTS_SCHEMA = `
  CREATE TABLE doc (id INTEGER PRIMARY KEY, title TEXT, body TEXT);
  CREATE VIRTUAL TABLE doc_fts USING fts5(title, body, content = 'doc', content_rowid = 'id');
  CREATE TRIGGER doc_ai AFTER INSERT ON doc BEGIN
    INSERT INTO doc_fts (rowid, title, body) VALUES (new.id, new.title, new.body);
  END;
  CREATE TRIGGER doc_ad AFTER DELETE ON doc BEGIN
    INSERT INTO doc_fts (doc_fts, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
  END;
  CREATE TRIGGER doc_au AFTER UPDATE ON doc BEGIN
    INSERT INTO doc_fts (doc_fts, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
    INSERT INTO doc_fts (rowid, title, body) VALUES (new.id, new.title, new.body);
  END;`;

function assertSearch(world: World, word: string, ids: readonly number[]): void {
  world.expect(
    `SELECT rowid FROM doc_fts WHERE doc_fts MATCH '${word}' ORDER BY rowid`,
    ids.map((id) => [id]),
  );
}

export const shapeCases: readonly SchemaCase[] = [
  wideCase(500),
  wideCase(2000),
  {
    name: "a wide table without a key",
    schema: `CREATE TABLE wide_keyless (${Array.from({ length: 900 }, (_, i) => `c${i}`).join(", ")});`,
    tables: ["wide_keyless"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO wide_keyless (c0, c450, c899) VALUES ('a', 1, 2.5), ('b', NULL, x'01')");
      await world.converge();
      b.sql("UPDATE wide_keyless SET c899 = 'changed' WHERE c0 = 'a'");
      await world.converge();
      world.expect("SELECT c0, c450, c899 FROM wide_keyless WHERE c0 = 'a'", [["a", 1, "changed"]]);
      world.expect("SELECT count(*) FROM wide_keyless", [[2]]);
    },
  },
  {
    name: "STRICT tables, with and without rowid",
    schema: "CREATE TABLE strict_t (id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, b BLOB, x ANY) STRICT;" +
      "CREATE TABLE strict_w (k ANY PRIMARY KEY, v ANY) STRICT, WITHOUT ROWID;",
    tables: ["strict_t", "strict_w"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO strict_t VALUES (1, 2, 3, '4', x'05', '006'), (2, NULL, NULL, NULL, NULL, 7.0)");
      b.sql("INSERT INTO strict_w VALUES (1, '1'), ('1', 1), (x'31', 1.0), (1.5, NULL)");
      await world.converge();
      b.sql("UPDATE strict_t SET x = x'ff', r = 4 WHERE id = 1");
      a.sql("DELETE FROM strict_w WHERE k = '1'; UPDATE strict_w SET k = 2.0 WHERE k = 1");
      await world.converge();
      world.expect("SELECT id, typeof(i), typeof(r), t, hex(b), typeof(x) FROM strict_t ORDER BY id", [
        [1, "integer", "real", "4", "05", "blob"],
        [2, "null", "null", null, "", "real"],
      ]);
      world.expect("SELECT typeof(k), quote(k), quote(v) FROM strict_w ORDER BY 1, 2", [
        ["blob", "X'31'", "1.0"],
        ["real", "1.5", "NULL"],
        ["real", "2.0", "'1'"],
      ]);
    },
  },
  {
    name: "generated columns, virtual and stored, with a UNIQUE index on one",
    schema: `CREATE TABLE generated (
        v TEXT GENERATED ALWAYS AS (lower(name)) VIRTUAL,
        id INTEGER PRIMARY KEY,
        name TEXT,
        s INTEGER GENERATED ALWAYS AS (length(name) * 10) STORED,
        n INTEGER DEFAULT 5
      );
      CREATE UNIQUE INDEX generated_v ON generated (v);
      CREATE TABLE generated_key (a TEXT, b TEXT, joined TEXT AS (a || '/' || b) STORED UNIQUE, PRIMARY KEY (a, b));`,
    tables: ["generated", "generated_key"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO generated (id, name) VALUES (1, 'Anna'), (2, 'BERT')");
      a.sql("INSERT INTO generated_key (a, b) VALUES ('x', 'y')");
      b.sql("INSERT INTO generated (id, name, n) VALUES (3, 'Čeněk', NULL)");
      await world.converge();
      // The one with the same v goes: REPLACE fires no DELETE trigger.
      b.sql("INSERT OR REPLACE INTO generated (id, name) VALUES (9, 'ANNA')");
      a.sql("UPDATE generated_key SET b = 'z'");
      await world.converge();
      a.sql(
        "BEGIN; UPDATE generated SET name = 't' WHERE id = 2; UPDATE generated SET name = 'bert' WHERE id = 3; UPDATE generated SET name = 'Čeněk' WHERE id = 2; COMMIT",
      );
      await world.converge();
      world.expect("SELECT id, name, v, s, n FROM generated ORDER BY id", [
        [2, "Čeněk", "Čeněk", 50, 5],
        [3, "bert", "bert", 40, null],
        [9, "ANNA", "anna", 40, 5],
      ]);
      world.expect("SELECT a, b, joined FROM generated_key", [["x", "z", "x/z"]]);
    },
  },
  lifeCase(
    "an INTEGER PRIMARY KEY called rowid",
    "CREATE TABLE rowid_alias (rowid INTEGER PRIMARY KEY, v TEXT);",
    { table: "rowid_alias", key: "rowid", value: "v", keys: ["1", "2", "3", "4"] },
  ),
  lifeCase(
    "an INTEGER PRIMARY KEY called oid",
    "CREATE TABLE oid_alias (oid INTEGER PRIMARY KEY, v TEXT);",
    { table: "oid_alias", key: "oid", value: "v", keys: ["1", "2", "3", "4"] },
  ),
  lifeCase(
    "all three names of the rowid taken, with a TEXT key",
    "CREATE TABLE rowid_taken (rowid TEXT PRIMARY KEY, oid TEXT UNIQUE, _rowid_ REAL);",
    { table: "rowid_taken", key: "rowid", value: "oid", keys: ["'a'", "'b'", "'c'", "'d'"] },
  ),
  lifeCase(
    "columns called rowid and oid in a table whose key is the rowid",
    "CREATE TABLE rowid_hidden (rowid TEXT, oid BLOB);",
    { table: "rowid_hidden", key: "_rowid_", value: "rowid", keys: ["11", "12", "13", "14"] },
  ),
  {
    name: "a table whose rowid is unreachable is named and left out",
    schema: "CREATE TABLE unreachable (rowid TEXT, OID TEXT, _RowId_ TEXT);" +
      "CREATE TABLE reachable (id INTEGER PRIMARY KEY, v TEXT);",
    tables: ["reachable"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO unreachable VALUES ('a', 'b', 'c'); INSERT INTO reachable VALUES (1, 'after')");
      await world.converge();
      world.expect("SELECT id, v FROM reachable", [[1, "after"]]);
      assert.deepEqual(select(b, "SELECT count(*) FROM unreachable"), [[0]]);
      for (const node of [a, b]) assert.match(node.log, /not replicated.*unreachable/);
    },
  },
  {
    name: "FTS5 external content that the application's triggers keep",
    schema: FTS_SCHEMA,
    tables: ["doc"],
    run: async (world) => {
      const { a, b } = world;
      a.sql(
        "INSERT INTO doc VALUES (1, 'marmots', 'they whistle'), (2, 'ibex', 'they climb'), (3, 'eagle', 'flies')",
      );
      b.sql("INSERT INTO doc VALUES (11, 'chamois', 'they climb too')");
      await world.converge();
      assertSearch(world, "climb", [2, 11]);
      b.sql("UPDATE doc SET body = 'they sleep' WHERE id = 1; DELETE FROM doc WHERE id = 3");
      a.sql("UPDATE doc SET id = 20, title = 'ibices' WHERE id = 2");
      a.sql("INSERT INTO doc VALUES (11, 'x', 'y') ON CONFLICT DO UPDATE SET body = 'they jump'");
      await world.converge();
      assertSearch(world, "climb", [20]);
      assertSearch(world, "whistle OR flies OR ibex", []);
      assertSearch(world, "sleep OR jump", [1, 11]);
      for (const node of [a, b]) {
        node.sql("INSERT INTO doc_fts (doc_fts, rank) VALUES ('integrity-check', 1)");
      }
      world.expect("SELECT id, title, body FROM doc ORDER BY id", [
        [1, "marmots", "they sleep"],
        [11, "chamois", "they jump"],
        [20, "ibices", "they climb"],
      ]);
    },
  },
];
