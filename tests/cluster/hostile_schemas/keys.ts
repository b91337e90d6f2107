/** Primary keys of every kind, and none. */
import { lifeCase, type SchemaCase } from "./schema_case.ts";

const life = (table: string, keys: readonly [string, string, string, string]) => ({
  table,
  key: "k",
  value: "v",
  keys,
});

export const keyCases: readonly SchemaCase[] = [
  lifeCase(
    "a TEXT key",
    "CREATE TABLE key_text (k TEXT PRIMARY KEY, v TEXT);",
    life("key_text", ["'a'", "''", "'é'", "'a '"]),
  ),
  lifeCase(
    "a BLOB key",
    "CREATE TABLE key_blob (k BLOB PRIMARY KEY, v TEXT);",
    life("key_blob", ["x''", "x'00'", "x'ff00fe'", "'ff'"]),
  ),
  lifeCase(
    "a REAL key",
    "CREATE TABLE key_real (k REAL PRIMARY KEY, v TEXT);",
    life("key_real", ["1", "0.1", "-1e300", "9e999"]),
  ),
  lifeCase(
    "a key of an untyped column that holds every storage class",
    "CREATE TABLE key_untyped (k PRIMARY KEY, v TEXT);",
    life("key_untyped", ["1", "'1'", "x'31'", "1.5"]),
  ),
  lifeCase(
    "a WITHOUT ROWID table",
    "CREATE TABLE key_without_rowid (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;",
    life("key_without_rowid", ["'a'", "'b'", "'c'", "'d'"]),
  ),
  lifeCase(
    "a descending INTEGER key, which is no alias of the rowid",
    "CREATE TABLE key_descending (k INTEGER PRIMARY KEY DESC, v TEXT);",
    life("key_descending", ["1", "2", "3", "4"]),
  ),
  lifeCase(
    "no key, the rowid named _rowid_",
    "CREATE TABLE key_none (v TEXT);",
    { table: "key_none", key: "_rowid_", value: "v", keys: ["10", "20", "30", "-40"] },
  ),
  {
    name: "a composite key in another order than its columns",
    schema: "CREATE TABLE key_composite (v TEXT, b INTEGER, a TEXT, PRIMARY KEY (a, b));" +
      "CREATE TABLE key_composite_wr (v TEXT, b INTEGER, a TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;",
    tables: ["key_composite", "key_composite_wr"],
    run: async (world) => {
      const { a, b } = world;
      for (const table of ["key_composite", "key_composite_wr"]) {
        a.sql(`INSERT INTO ${table} (a, b, v) VALUES ('x', 1, 'x1'), ('x', 2, 'x2'), ('12', 3, '12-3')`);
        b.sql(`INSERT INTO ${table} (a, b, v) VALUES ('y', 1, 'y1'), ('1', 23, '1-23')`);
      }
      await world.converge();
      for (const table of ["key_composite", "key_composite_wr"]) {
        b.sql(`UPDATE ${table} SET b = b + 10 WHERE a = 'x'`);
        a.sql(`DELETE FROM ${table} WHERE a = 'y'`);
      }
      await world.converge();
      for (const table of ["key_composite", "key_composite_wr"]) {
        world.expect(`SELECT a, b, v FROM ${table} ORDER BY a, b`, [
          ["1", 23, "1-23"],
          ["12", 3, "12-3"],
          ["x", 11, "x1"],
          ["x", 12, "x2"],
        ]);
      }
    },
  },
  {
    name: "a NOCASE key whose case changes",
    schema: "CREATE TABLE key_nocase (k TEXT COLLATE NOCASE PRIMARY KEY, v TEXT);",
    tables: ["key_nocase"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO key_nocase VALUES ('Anna', 'a'), ('BERT', 'b'), ('Ää', 'c')");
      await world.converge();
      b.sql("UPDATE key_nocase SET k = 'anna', v = 'a2' WHERE k = 'ANNA'");
      b.sql("INSERT OR REPLACE INTO key_nocase VALUES ('bert', 'b2')");
      a.sql("DELETE FROM key_nocase WHERE k = 'Ää'");
      await world.converge();
      world.expect("SELECT k, v FROM key_nocase ORDER BY v", [["anna", "a2"], ["bert", "b2"]]);
      b.sql("DELETE FROM key_nocase WHERE k = 'ANNA'; INSERT INTO key_nocase VALUES ('ANNA', 'a3')");
      await world.converge();
      world.expect("SELECT k, v FROM key_nocase ORDER BY v", [["ANNA", "a3"], ["bert", "b2"]]);
    },
  },
  {
    name: "a key that is finer than its column: NOCASE text under a BINARY key",
    schema: "CREATE TABLE key_finer (k TEXT COLLATE NOCASE, v TEXT, PRIMARY KEY (k COLLATE BINARY));",
    tables: ["key_finer"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO key_finer VALUES ('x', 'small'), ('X', 'big'), ('y', 'moves')");
      await world.converge();
      b.sql("DELETE FROM key_finer WHERE v = 'small'");
      b.sql("UPDATE key_finer SET k = 'Y' WHERE v = 'moves'");
      await world.converge();
      world.expect("SELECT k, v FROM key_finer ORDER BY v", [["X", "big"], ["Y", "moves"]]);
      a.sql("INSERT INTO key_finer VALUES ('x', 'again')");
      await world.converge();
      world.expect("SELECT k, v FROM key_finer ORDER BY v", [["x", "again"], ["X", "big"], ["Y", "moves"]]);
    },
  },
  {
    name: "a table without a key, whose rows are equal but for their rowid",
    schema: "CREATE TABLE key_missing (v TEXT);",
    tables: ["key_missing"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO key_missing (v) VALUES ('same'), ('same'), ('same')");
      await world.converge();
      b.sql("DELETE FROM key_missing WHERE rowid = 2; UPDATE key_missing SET v = 'other' WHERE rowid = 3");
      b.sql("INSERT INTO key_missing (rowid, v) VALUES (100, 'same')");
      await world.converge();
      world.expect("SELECT rowid, v FROM key_missing ORDER BY rowid", [[1, "same"], [3, "other"], [
        100,
        "same",
      ]]);
    },
  },
  {
    name: "NULL in a key names a list of rows",
    schema: "CREATE TABLE key_null (a TEXT, b INTEGER, v TEXT, PRIMARY KEY (a, b));" +
      "CREATE TABLE key_null_one (k TEXT PRIMARY KEY, v TEXT);",
    tables: ["key_null", "key_null_one"],
    run: async (world) => {
      const { a, b } = world;
      a.sql(
        "INSERT INTO key_null VALUES (NULL, 1, 'p'), (NULL, 1, 'q'), (NULL, 1, 'q'), ('x', NULL, 'r'), ('x', 1, 's')",
      );
      a.sql("INSERT INTO key_null_one VALUES (NULL, 'first'), ('k', 'keyed')");
      await world.converge();
      world.expect("SELECT a, b, v FROM key_null ORDER BY v", [
        [null, 1, "p"],
        [null, 1, "q"],
        [null, 1, "q"],
        ["x", null, "r"],
        ["x", 1, "s"],
      ]);
      b.sql("DELETE FROM key_null WHERE v = 'p'; UPDATE key_null SET a = 'y' WHERE v = 'r'");
      b.sql("UPDATE key_null SET b = NULL WHERE v = 's'");
      b.sql("INSERT INTO key_null_one VALUES (NULL, 'second')");
      await world.converge();
      a.sql("UPDATE key_null_one SET k = NULL WHERE k = 'k'");
      await world.converge();
      world.expect("SELECT a, b, v FROM key_null ORDER BY v", [
        [null, 1, "q"],
        [null, 1, "q"],
        ["y", null, "r"],
        ["x", null, "s"],
      ]);
      world.expect("SELECT k, v FROM key_null_one ORDER BY v", [[null, "first"], [null, "keyed"], [
        null,
        "second",
      ]]);
    },
  },
  {
    name: "1 beside 1.0 as the key of an untyped column",
    schema: "CREATE TABLE key_one (k PRIMARY KEY, v TEXT);" +
      "CREATE TABLE key_ones (k, l, v TEXT, PRIMARY KEY (k, l)) WITHOUT ROWID;",
    tables: ["key_one", "key_ones"],
    run: async (world) => {
      const { a, b } = world;
      const content = "SELECT typeof(k), k, v FROM key_one ORDER BY k";
      a.sql("INSERT INTO key_one VALUES (1, 'integer'), (2.0, 'real'), (3, 'three'), (0.0, 'zero')");
      a.sql("INSERT INTO key_ones VALUES (1, 1.0, 'a'), (2, 2, 'b')");
      await world.converge();
      b.sql("UPDATE key_one SET k = 1.0, v = 'became real' WHERE k = 1");
      b.sql("INSERT OR REPLACE INTO key_one VALUES (2, 'became integer')");
      b.sql("DELETE FROM key_one WHERE k = 3.0");
      b.sql("UPDATE key_one SET v = 'touched' WHERE k = 0");
      b.sql("UPDATE key_ones SET k = 1.0, l = 1 WHERE v = 'a'");
      await world.converge();
      world.expect(content, [["real", 0, "touched"], ["real", 1, "became real"], [
        "integer",
        2,
        "became integer",
      ]]);
      world.expect("SELECT typeof(k), typeof(l), v FROM key_ones ORDER BY v", [
        ["real", "integer", "a"],
        ["integer", "integer", "b"],
      ]);
      a.sql(
        "BEGIN; UPDATE key_one SET k = 1, v = 'once' WHERE k = 1; UPDATE key_one SET k = 1.0, v = 'twice' WHERE k = 1; COMMIT",
      );
      await world.converge();
      a.sql("DELETE FROM key_one WHERE k = 1; INSERT INTO key_one VALUES (1, 'at last')");
      await world.converge();
      world.expect(content, [["real", 0, "touched"], ["integer", 1, "at last"], [
        "integer",
        2,
        "became integer",
      ]]);
    },
  },
  {
    name: "primary keys that are updated, shifted and swapped",
    schema: "CREATE TABLE key_moves (id INTEGER PRIMARY KEY, v TEXT);" +
      "CREATE TABLE key_moves_text (id TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;",
    tables: ["key_moves", "key_moves_text"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO key_moves VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four')");
      b.sql("INSERT INTO key_moves_text VALUES ('a', 'one'), ('b', 'two')");
      await world.converge();
      b.sql(
        "BEGIN; UPDATE key_moves SET id = -1 WHERE id = 1; UPDATE key_moves SET id = 1 WHERE id = 2; UPDATE key_moves SET id = 2 WHERE id = -1; COMMIT",
      );
      a.sql(
        "BEGIN; UPDATE key_moves_text SET id = '~' WHERE id = 'a'; UPDATE key_moves_text SET id = 'a' WHERE id = 'b'; UPDATE key_moves_text SET id = 'b' WHERE id = '~'; COMMIT",
      );
      await world.converge();
      world.expect("SELECT * FROM key_moves ORDER BY id", [[1, "two"], [2, "one"], [3, "three"], [
        4,
        "four",
      ]]);
      world.expect("SELECT * FROM key_moves_text ORDER BY id", [["a", "two"], ["b", "one"]]);
      a.sql("UPDATE key_moves SET id = id + 100");
      await world.converge();
      b.sql("UPDATE OR REPLACE key_moves SET id = 104 WHERE id = 101");
      await world.converge();
      world.expect("SELECT * FROM key_moves ORDER BY id", [[102, "one"], [103, "three"], [104, "two"]]);
    },
  },
  {
    name: "AUTOINCREMENT",
    schema: "CREATE TABLE key_auto (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);",
    tables: ["key_auto"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO key_auto (v) VALUES ('a'), ('b')");
      await world.converge();
      b.sql(
        "INSERT INTO key_auto (v) VALUES ('c'); DELETE FROM key_auto WHERE v = 'c'; INSERT INTO key_auto (v) VALUES ('d')",
      );
      await world.converge();
      a.sql("INSERT INTO key_auto (v) VALUES ('e')");
      await world.converge();
      world.expect("SELECT id, v FROM key_auto ORDER BY id", [[1, "a"], [2, "b"], [4, "d"], [5, "e"]]);
    },
  },
];
