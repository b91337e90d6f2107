/** What the application's own schema does by itself: triggers, views, foreign keys. It must happen once, not on every node. */
import type { SchemaCase } from "./schema_case.ts";

export const triggerCases: readonly SchemaCase[] = [
  {
    name: "foreign keys with ON DELETE CASCADE, SET NULL and ON UPDATE CASCADE",
    schema: `CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT);
      CREATE TABLE album (id INTEGER PRIMARY KEY, artist INT NOT NULL REFERENCES artist ON DELETE CASCADE ON UPDATE CASCADE, title TEXT);
      CREATE TABLE track (id INTEGER PRIMARY KEY, album INT REFERENCES album ON DELETE CASCADE, guest INT REFERENCES artist ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED);`,
    tables: ["artist", "album", "track"],
    run: async (world) => {
      const { a, b } = world;
      a.sql(
        "INSERT INTO artist VALUES (1, 'one'), (2, 'two'), (3, 'three'); INSERT INTO album VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 2, 'c')",
      );
      a.sql("INSERT INTO track VALUES (1, 1, NULL), (2, 1, 2), (3, 2, 1), (4, 3, 3)");
      await world.converge();
      b.sql("DELETE FROM artist WHERE id = 1");
      await world.converge();
      a.sql("UPDATE artist SET id = 20 WHERE id = 2; DELETE FROM artist WHERE id = 3");
      await world.converge();
      world.expect("SELECT * FROM artist", [[20, "two"]]);
      world.expect("SELECT * FROM album ORDER BY id", [[2, 20, "b"], [3, 20, "c"]]);
      world.expect("SELECT * FROM track ORDER BY id", [[3, 2, null], [4, 3, null]]);
      world.expect("SELECT * FROM pragma_foreign_key_check", []);
    },
  },
  {
    name: "a view with INSTEAD OF triggers as the table that is written",
    schema: `CREATE TABLE person (id INTEGER PRIMARY KEY, first TEXT, last TEXT);
      CREATE VIEW person_view AS SELECT id, first || ' ' || last AS name FROM person;
      CREATE TRIGGER person_view_insert INSTEAD OF INSERT ON person_view BEGIN
        INSERT INTO person (id, first, last) VALUES (NEW.id, substr(NEW.name, 1, instr(NEW.name, ' ') - 1), substr(NEW.name, instr(NEW.name, ' ') + 1));
      END;
      CREATE TRIGGER person_view_update INSTEAD OF UPDATE ON person_view BEGIN
        UPDATE person SET id = NEW.id, last = substr(NEW.name, instr(NEW.name, ' ') + 1) WHERE id = OLD.id;
      END;
      CREATE TRIGGER person_view_delete INSTEAD OF DELETE ON person_view BEGIN DELETE FROM person WHERE id = OLD.id; END;`,
    tables: ["person"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO person_view VALUES (1, 'Ada Lovelace'), (2, 'Alan Turing'), (3, 'Grace Hopper')");
      await world.converge();
      b.sql(
        "UPDATE person_view SET name = 'x King', id = 10 WHERE id = 1; DELETE FROM person_view WHERE id = 2",
      );
      await world.converge();
      world.expect("SELECT * FROM person ORDER BY id", [[3, "Grace", "Hopper"], [10, "Ada", "King"]]);
      world.expect("SELECT name FROM person_view ORDER BY id", [["Grace Hopper"], ["Ada King"]]);
    },
  },
  {
    name: "an audit trigger writes each line once",
    schema: `CREATE TABLE balance (id INTEGER PRIMARY KEY, amount INT);
      CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, balance INT, was INT, is_now INT);
      CREATE TRIGGER balance_i AFTER INSERT ON balance BEGIN INSERT INTO audit (what, balance, is_now) VALUES ('i', NEW.id, NEW.amount); END;
      CREATE TRIGGER balance_u AFTER UPDATE ON balance BEGIN INSERT INTO audit (what, balance, was, is_now) VALUES ('u', NEW.id, OLD.amount, NEW.amount); END;
      CREATE TRIGGER balance_d BEFORE DELETE ON balance BEGIN INSERT INTO audit (what, balance, was) SELECT 'd', id, amount FROM balance WHERE id = OLD.id; END;`,
    tables: ["balance", "audit"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO balance VALUES (1, 10), (2, 20)");
      await world.converge();
      b.sql("UPDATE balance SET amount = amount + 1");
      await world.converge();
      a.sql("DELETE FROM balance WHERE id = 2");
      await world.converge();
      world.expect("SELECT * FROM balance", [[1, 11]]);
      world.expect("SELECT what, balance, was, is_now FROM audit ORDER BY id", [
        ["i", 1, null, 10],
        ["i", 2, null, 20],
        ["u", 1, 10, 11],
        ["u", 2, 20, 21],
        ["d", 2, 21, null],
      ]);
    },
  },
  {
    name: "an updated_at trigger keeps the time of the node that wrote",
    schema: `CREATE TABLE page (id INTEGER PRIMARY KEY, text TEXT, updated_at TEXT, version INT DEFAULT 0);
      CREATE TRIGGER page_u AFTER UPDATE OF text ON page BEGIN
        UPDATE page SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') || hex(randomblob(8)), version = version + 1 WHERE id = NEW.id;
      END;`,
    tables: ["page"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO page (id, text) VALUES (1, 'a'), (2, 'b')");
      await world.converge();
      a.sql("UPDATE page SET text = 'aa' WHERE id = 1");
      b.sql("UPDATE page SET text = 'bb' WHERE id = 2");
      await world.converge();
      b.sql("UPDATE page SET text = 'aaa' WHERE id = 1");
      await world.converge();
      world.expect("SELECT id, text, version, length(updated_at) FROM page ORDER BY id", [
        [1, "aaa", 2, 39],
        [2, "bb", 1, 39],
      ]);
    },
  },
  {
    name: "a trigger that deletes from another replicated table",
    schema: `CREATE TABLE session (id INTEGER PRIMARY KEY, user TEXT);
      CREATE TABLE token (id INTEGER PRIMARY KEY, user TEXT);
      CREATE TRIGGER session_d AFTER DELETE ON session BEGIN DELETE FROM token WHERE user = OLD.user; END;
      CREATE TRIGGER session_u AFTER UPDATE ON session BEGIN DELETE FROM token WHERE user = OLD.user AND OLD.user <> NEW.user; END;`,
    tables: ["session", "token"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO session VALUES (1, 'anna'), (2, 'bert'), (3, 'cleo')");
      a.sql("INSERT INTO token VALUES (1, 'anna'), (2, 'anna'), (3, 'bert'), (4, 'cleo')");
      await world.converge();
      b.sql("DELETE FROM session WHERE id = 1; INSERT INTO token VALUES (9, 'anna')");
      a.sql("UPDATE session SET user = 'carl' WHERE id = 3");
      await world.converge();
      world.expect("SELECT * FROM session ORDER BY id", [[2, "bert"], [3, "carl"]]);
      world.expect("SELECT * FROM token ORDER BY id", [[3, "bert"], [9, "anna"]]);
    },
  },
  {
    name: "triggers with RAISE refuse the application, and never a replicated row",
    schema: `CREATE TABLE stock (id INTEGER PRIMARY KEY, n INT, locked INT DEFAULT 0);
      CREATE TRIGGER stock_u BEFORE UPDATE ON stock WHEN NEW.n < 0 BEGIN SELECT RAISE(ABORT, 'no less than none'); END;
      CREATE TRIGGER stock_d BEFORE DELETE ON stock BEGIN SELECT CASE WHEN OLD.locked THEN raise(IGNORE) END; END;
      CREATE TRIGGER stock_i BEFORE INSERT ON stock BEGIN
        SELECT RAISE(ROLLBACK, 'too many') WHERE (SELECT count(*) FROM stock) >= 3;
      END;`,
    tables: ["stock"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO stock VALUES (1, 5, 0), (2, 6, 1), (3, 7, 0)");
      await world.converge();
      for (const node of [a, b]) {
        const fails = (sql: string) => {
          try {
            node.sql(sql);
          } catch {
            return;
          }
          throw new Error(`node ${node.id} does not refuse: ${sql}`);
        };
        fails("UPDATE stock SET n = -1 WHERE id = 1");
        fails("INSERT INTO stock VALUES (4, 1, 0)");
        node.sql("DELETE FROM stock WHERE id = 2");
      }
      // What only one node's trigger lets through is not refused by the other's.
      b.sql(
        "DELETE FROM stock WHERE id = 3; INSERT INTO stock VALUES (4, 8, 0); UPDATE stock SET n = 4, locked = 1 WHERE id = 1",
      );
      await world.converge();
      a.sql("UPDATE stock SET locked = 0 WHERE id = 2; DELETE FROM stock WHERE id = 2");
      await world.converge();
      world.expect("SELECT * FROM stock ORDER BY id", [[1, 4, 1], [4, 8, 0]]);
    },
  },
  {
    name: "a trigger with IN (SELECT …) in its WHEN, and one that computes",
    schema: `CREATE TABLE watched (name TEXT PRIMARY KEY);
      CREATE TABLE event (id INTEGER PRIMARY KEY, name TEXT);
      CREATE TABLE alarm (id INTEGER PRIMARY KEY, name TEXT, n INT);
      CREATE TRIGGER event_i AFTER INSERT ON event WHEN NEW.name IN (SELECT name FROM watched) BEGIN
        INSERT INTO alarm (name, n) SELECT NEW.name, count(*) FROM event WHERE name IN (SELECT name FROM watched);
      END;`,
    tables: ["watched", "event", "alarm"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO watched VALUES ('fire'), ('flood')");
      await world.converge();
      b.sql("INSERT INTO event VALUES (1, 'fire'), (2, 'tea'), (3, 'flood')");
      await world.converge();
      a.sql(
        "INSERT INTO event VALUES (4, 'fire'); DELETE FROM event WHERE name IN (SELECT name FROM watched) AND id < 4",
      );
      await world.converge();
      world.expect("SELECT * FROM event ORDER BY id", [[2, "tea"], [4, "fire"]]);
      world.expect("SELECT name, n FROM alarm ORDER BY id", [["fire", 1], ["flood", 2], ["fire", 3]]);
    },
  },
  {
    name: "triggers that lead to triggers, through a view, with UPSERT and REPLACE",
    schema: `CREATE TABLE sale (id INTEGER PRIMARY KEY, shop TEXT, amount INT);
      CREATE TABLE total (shop TEXT PRIMARY KEY, amount INT, changes INT DEFAULT 0);
      CREATE TABLE latest (shop TEXT PRIMARY KEY, sale INT);
      CREATE VIEW sales AS SELECT * FROM sale;
      CREATE TRIGGER sales_i INSTEAD OF INSERT ON sales BEGIN INSERT INTO sale VALUES (NEW.id, NEW.shop, NEW.amount); END;
      CREATE TRIGGER sale_i AFTER INSERT ON sale BEGIN
        INSERT INTO total (shop, amount) VALUES (NEW.shop, NEW.amount) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount;
        REPLACE INTO latest VALUES (NEW.shop, NEW.id);
      END;
      CREATE TRIGGER total_u AFTER UPDATE OF amount ON total BEGIN UPDATE total SET changes = changes + 1 WHERE shop = NEW.shop; END;`,
    tables: ["sale", "total", "latest"],
    run: async (world) => {
      const { a, b } = world;
      a.sql("INSERT INTO sales VALUES (1, 'north', 10), (2, 'north', 20)");
      await world.converge();
      b.sql("INSERT INTO sales VALUES (3, 'north', 30), (4, 'south', 1)");
      await world.converge();
      world.expect("SELECT * FROM total ORDER BY shop", [["north", 60, 2], ["south", 1, 0]]);
      world.expect("SELECT * FROM latest ORDER BY shop", [["north", 3], ["south", 4]]);
      world.expect("SELECT count(*) FROM sale", [[4]]);
    },
  },
];
