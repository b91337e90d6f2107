/** UNIQUE indexes besides the key: plain, partial, on expressions; values that are swapped, rows that REPLACE removes. */
import { type SchemaCase } from "./schema_case.ts";

export const uniqueCases: readonly SchemaCase[] = [
  {
    name: "values of a UNIQUE index swapped between rows",
    schema: "CREATE TABLE seat (id INTEGER PRIMARY KEY, guest TEXT UNIQUE);",
    tables: ["seat"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO seat VALUES (1, 'Anna'), (2, 'Bert'), (3, 'Cleo'), (4, NULL), (5, NULL)");
      await world.converge();
      b.sql(
        "BEGIN; UPDATE seat SET guest = NULL WHERE id = 1; UPDATE seat SET guest = 'Anna' WHERE id = 2; UPDATE seat SET guest = 'Bert' WHERE id = 1; COMMIT",
      );
      await world.converge();
      world.expect("SELECT * FROM seat ORDER BY id", [[1, "Bert"], [2, "Anna"], [3, "Cleo"], [4, null], [
        5,
        null,
      ]]);
      // Three in a circle, and at the same time an uncontended row from the other side.
      a.sql(
        "BEGIN; UPDATE seat SET guest = '~' WHERE id = 1; UPDATE seat SET guest = 'Bert' WHERE id = 3; UPDATE seat SET guest = 'Cleo' WHERE id = 2; UPDATE seat SET guest = 'Anna' WHERE id = 1; COMMIT",
      );
      b.sql("UPDATE seat SET guest = 'Dora' WHERE id = 4");
      await world.converge();
      world.expect("SELECT * FROM seat ORDER BY id", [
        [1, "Anna"],
        [2, "Cleo"],
        [3, "Bert"],
        [4, "Dora"],
        [5, null],
      ]);
    },
  },
  {
    name: "a row that REPLACE removes by a UNIQUE index is removed everywhere",
    schema:
      "CREATE TABLE account (id INTEGER PRIMARY KEY, mail TEXT COLLATE NOCASE UNIQUE, a INT, b INT, UNIQUE (a, b));" +
      "CREATE TABLE account_text (k TEXT PRIMARY KEY, mail TEXT UNIQUE ON CONFLICT REPLACE, v TEXT);",
    tables: ["account", "account_text"],
    run: async (world) => {
      const { a, b } = world;
      a.sql(
        "INSERT INTO account VALUES (1, 'anna@x', 1, 1), (2, 'bert@x', 2, 2), (3, 'cleo@x', 3, 3), (4, NULL, NULL, 4)",
      );
      a.sql("INSERT INTO account_text VALUES ('p', 'one', ''), ('q', 'two', ''), ('r', 'three', '')");
      await world.converge();
      b.sql("INSERT OR REPLACE INTO account VALUES (9, 'ANNA@X', 2, 2)");
      b.sql("UPDATE OR REPLACE account SET mail = 'Cleo@X' WHERE id = 4");
      a.sql("INSERT INTO account_text VALUES ('s', 'one', 'replaced p')");
      a.sql("UPDATE account_text SET mail = 'two' WHERE k = 'r'");
      await world.converge();
      world.expect("SELECT * FROM account ORDER BY id", [[4, "Cleo@X", null, 4], [9, "ANNA@X", 2, 2]]);
      world.expect("SELECT * FROM account_text ORDER BY k", [["r", "two", ""], ["s", "one", "replaced p"]]);
    },
  },
  {
    name: "OR IGNORE and DO NOTHING remove nobody",
    schema: "CREATE TABLE polite (id INTEGER PRIMARY KEY, mail TEXT UNIQUE);",
    tables: ["polite"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO polite VALUES (1, 'anna'), (2, 'bert')");
      await world.converge();
      b.sql(
        "INSERT OR IGNORE INTO polite VALUES (3, 'anna'); INSERT INTO polite VALUES (4, 'bert') ON CONFLICT DO NOTHING",
      );
      b.sql("UPDATE OR IGNORE polite SET mail = 'anna' WHERE id = 2; INSERT INTO polite VALUES (5, 'eve')");
      await world.converge();
      world.expect("SELECT * FROM polite ORDER BY id", [[1, "anna"], [2, "bert"], [5, "eve"]]);
    },
  },
  {
    name: "UPSERT on the key, on a UNIQUE index, and with several clauses",
    schema: "CREATE TABLE counter (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER DEFAULT 1);",
    tables: ["counter"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO counter (id, name) VALUES (1, 'x'), (2, 'y')");
      await world.converge();
      b.sql("INSERT INTO counter (name) VALUES ('x') ON CONFLICT (name) DO UPDATE SET n = n + 1");
      b.sql(
        "INSERT INTO counter (id, name) VALUES (2, 'z') ON CONFLICT (name) DO NOTHING ON CONFLICT (id) DO UPDATE SET n = 50, name = excluded.name",
      );
      a.sql("INSERT INTO counter (id, name) VALUES (77, 'new') ON CONFLICT DO UPDATE SET n = -1");
      await world.converge();
      world.expect("SELECT * FROM counter ORDER BY id", [[1, "x", 2], [2, "z", 50], [77, "new", 1]]);
    },
  },
  {
    name: "a partial UNIQUE index",
    schema: "CREATE TABLE lease (id INTEGER PRIMARY KEY, house TEXT, is_open INT);" +
      "CREATE UNIQUE INDEX lease_open ON lease (house) WHERE is_open = 1;",
    tables: ["lease"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO lease VALUES (1, 'red', 0), (2, 'red', 0), (3, 'red', 1), (4, 'blue', 1)");
      await world.converge();
      b.sql("INSERT OR REPLACE INTO lease VALUES (5, 'red', 1)");
      b.sql("INSERT INTO lease VALUES (6, 'blue', 0)");
      await world.converge();
      a.sql(
        "BEGIN; UPDATE lease SET is_open = 0 WHERE id = 4; UPDATE lease SET is_open = 1 WHERE id = 6; COMMIT",
      );
      await world.converge();
      world.expect("SELECT * FROM lease ORDER BY id", [
        [1, "red", 0],
        [2, "red", 0],
        [4, "blue", 0],
        [5, "red", 1],
        [6, "blue", 1],
      ]);
    },
  },
  {
    name: "UNIQUE indexes on expressions, with collations and a condition",
    schema: `CREATE TABLE word (id INTEGER PRIMARY KEY, w TEXT, lang TEXT, gone INT DEFAULT 0, note TEXT);
      CREATE UNIQUE INDEX word_lower ON word (lower(trim(w)) COLLATE NOCASE DESC, substr(lang, 1, 2)) WHERE gone IS NOT 1;
      CREATE UNIQUE INDEX word_note ON word (note || '!');`,
    tables: ["word"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO word (id, w, lang) VALUES (1, 'Hut', 'de-AT'), (2, 'hut', 'en'), (3, 'Baum', 'de')");
      await world.converge();
      b.sql("INSERT OR REPLACE INTO word (id, w, lang, note) VALUES (7, ' HUT ', 'de-CH', 'replaces 1')");
      a.sql("UPDATE word SET gone = 1, note = 'gone' WHERE id = 3");
      await world.converge();
      b.sql("INSERT INTO word (id, w, lang) VALUES (8, 'baum', 'de')");
      a.sql("INSERT OR REPLACE INTO word (id, w, lang, note) VALUES (9, 'Ast', 'de', 'gone')");
      await world.converge();
      world.expect("SELECT id, w, lang, gone, note FROM word ORDER BY id", [
        [2, "hut", "en", 0, null],
        [7, " HUT ", "de-CH", 0, "replaces 1"],
        [8, "baum", "de", 0, null],
        [9, "Ast", "de", 0, "gone"],
      ]);
    },
  },
  {
    name: "defaults of NOT NULL columns that REPLACE puts in place of NULL, however they are written",
    schema: `CREATE TABLE fallback (
      id INTEGER PRIMARY KEY,
      bare TEXT NOT NULL DEFAULT pending UNIQUE,
      doubled TEXT NOT NULL DEFAULT "id" UNIQUE,
      text TEXT NOT NULL DEFAULT 'it''s' UNIQUE,
      number INT NOT NULL DEFAULT -7 UNIQUE,
      computed INT NOT NULL DEFAULT (1 + 1) UNIQUE,
      yes INT NOT NULL DEFAULT true UNIQUE
    );`,
    tables: ["fallback"],
    run: async (world) => {
      const { a, b } = world;
      a.sql(
        "INSERT INTO fallback (id) VALUES (1); INSERT INTO fallback VALUES (2, 'b', 'b', 'b', 2, 22, 222)",
      );
      await world.converge();
      const columns = ["bare", "doubled", "text", "number", "computed", "yes"];
      for (const [i, column] of columns.entries()) {
        const values = columns.map((name, j) => name === column ? "NULL" : String(100 * i + j + 1000));
        b.sql(`INSERT OR REPLACE INTO fallback VALUES (${i + 3}, ${values.join(", ")})`);
        await world.converge();
      }
      world.expect("SELECT id, bare, doubled, text, number, computed, yes FROM fallback ORDER BY id", [
        [2, "b", "b", "b", 2, 22, 222],
        [3, "pending", "1001", "1002", 1003, 1004, 1005],
        [4, "1100", "id", "1102", 1103, 1104, 1105],
        [5, "1200", "1201", "it's", 1203, 1204, 1205],
        [6, "1300", "1301", "1302", -7, 1304, 1305],
        [7, "1400", "1401", "1402", 1403, 2, 1405],
        [8, "1500", "1501", "1502", 1503, 1504, 1],
      ]);
    },
  },
  {
    name: "REPLACE that removes a row by its rowid, which is not its key",
    schema: "CREATE TABLE hidden_rowid (k TEXT PRIMARY KEY, v TEXT UNIQUE);" +
      "CREATE TABLE hidden_rowid_plain (k TEXT PRIMARY KEY, v TEXT);",
    tables: ["hidden_rowid", "hidden_rowid_plain"],
    run: async (world) => {
      const { a } = world;
      for (const table of ["hidden_rowid", "hidden_rowid_plain"]) {
        a.sql(`INSERT INTO ${table} (rowid, k, v) VALUES (1, 'a', '1'), (2, 'b', '2'), (3, 'c', '3')`);
        await world.converge();
        a.sql(`INSERT OR REPLACE INTO ${table} (rowid, k, v) VALUES (2, 'd', '4')`);
        a.sql(`UPDATE OR REPLACE ${table} SET rowid = 3 WHERE k = 'a'`);
        await world.converge();
        world.expect(`SELECT k, v FROM ${table} ORDER BY k`, [["a", "1"], ["d", "4"]]);
      }
    },
  },
  {
    name: "tables called new, old and excluded, where REPLACE removes a row",
    schema: ["new", "OLD", "excluded"].map((table) =>
      `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v TEXT, w INT);` +
      `CREATE UNIQUE INDEX ${table}_v ON ${table} (lower(v)) WHERE w > 0;`
    ).join(""),
    tables: ["new", "OLD", "excluded"],
    run: async (world) => {
      const { a, b } = world;
      for (const table of ["new", "OLD", "excluded"]) {
        a.sql(
          `INSERT INTO ${table} VALUES (1, 'a', 'p', 1), (2, 'b', 'q', 1), (3, 'c', 'Q', 0), (4, 'd', NULL, 1)`,
        );
        await world.converge();
        b.sql(`INSERT OR REPLACE INTO ${table} VALUES (9, 'a', 'Q', 1)`);
        await world.converge();
        world.expect(`SELECT * FROM ${table} ORDER BY id`, [[3, "c", "Q", 0], [4, "d", null, 1], [
          9,
          "a",
          "Q",
          1,
        ]]);
      }
    },
  },
];
