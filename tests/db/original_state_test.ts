/** A database as the original v0.6 leaves it; names from tests/golden/names_v06.json, "database". */
import assert from "node:assert/strict";
import { dumpSchema } from "../../scripts/table_dump.ts";
import { removeMarmot } from "../../src/db/state/remove_marmot.ts";
import { openDatabase } from "../../src/db/open_database.ts";
import { readVectors } from "../golden/vectors.ts";
import { TestReplica } from "./test_replica.ts";

interface OriginalTable {
  readonly table: string;
  readonly columns: readonly (readonly [name: string, type: string, note: string])[];
}

interface OriginalDatabase {
  readonly globalTable: { readonly name: string; readonly columns: OriginalTable["columns"] };
  readonly "forTable users": OriginalTable & {
    readonly index: string;
    readonly triggers: Readonly<Record<"insert" | "update" | "delete", string>>;
  };
  readonly "forTable notes (no primary key)": OriginalTable;
}

const { database } = readVectors<{ database: OriginalDatabase }>("names_v06.json");
const { globalTable } = database;
const users = database["forTable users"];
const notes = database["forTable notes (no primary key)"];

const APPLICATION =
  "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, score REAL, avatar BLOB, active BOOLEAN, created DATETIME);" +
  "CREATE TABLE notes (title VARCHAR(40), body TEXT);" +
  "INSERT INTO users (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three'); INSERT INTO notes VALUES ('n', 'b');";

const createTable = ({ table, columns }: OriginalTable) =>
  `CREATE TABLE "${table}" (${columns.map(([name, type, note]) => `"${name}" ${type} ${note}`).join(", ")});`;

/** Its triggers call a function that only its own connections have. */
const triggers = Object.entries(users.triggers).map(([event, name]) =>
  `CREATE TRIGGER "${name}" AFTER ${event} ON users WHEN (SELECT marmot_version()) IS NULL BEGIN ` +
  `INSERT INTO "${users.table}" (val_id, type, created_at, state) VALUES (${
    event === "delete" ? "OLD" : "NEW"
  }.id, '${event}', 0, 0); END;`
).join("\n");

const ORIGINAL = createTable({ table: globalTable.name, columns: globalTable.columns }) + createTable(users) +
  createTable(notes) +
  `CREATE INDEX "${users.index}" ON "${users.table}" (state);` + triggers +
  `INSERT INTO "${users.table}" (val_id, val_name, type, created_at, state) VALUES (1, 'one', 'insert', 5, 1), (2, 'old image', 'update', 6, 0), (9, 'gone', 'delete', 7, 0), (3, 'x', 'insert', 8, -1);` +
  `INSERT INTO "${notes.table}" (val_title, val_rowid, type, created_at, state) VALUES ('n', 1, 'insert', 5, 0);`;

function originalObjects(world: TestReplica): unknown[] {
  return world.rows(
    "SELECT name FROM sqlite_schema WHERE name GLOB '__marmot__*' AND (name GLOB '*change_log_*' OR name GLOB '__marmot__?*_change_log')",
  )
    .flat();
}

Deno.test("the original's triggers make the application fail, until Marmot takes the database over", () => {
  using world = new TestReplica(APPLICATION + ORIGINAL);
  assert.throws(() => world.application.exec("INSERT INTO users (id) VALUES (4)"), /marmot_version/);
  world.arm();
  assert.deepEqual(originalObjects(world), []);
  world.application.exec("INSERT INTO users (id) VALUES (4)");
  assert.deepEqual(world.entries().at(-1)?.slice(1), [0n, 4n]);
});

Deno.test("what the original had not published is logged as our own, in its order", () => {
  using world = new TestReplica(APPLICATION + ORIGINAL);
  world.arm();
  const of = (name: string) =>
    world.entries().filter(([id]) => Number(id) === world.table(name).id).map((entry) => entry.slice(1));
  assert.deepEqual(of("users"), [[0n, 2n], [0n, 9n]]);
  assert.deepEqual(of("notes"), [[0n, 1n]]);
});

Deno.test("positions come from the seq-map file, once, and only for such a database", () => {
  const seqMap = new Map([["marmot-changes-1", 42], ["marmot-changes-2", 7]]);
  using world = new TestReplica(APPLICATION + ORIGINAL);
  world.reopen({ seqMap });
  world.arm();
  const cursors = () => world.replica.positions.all().map(({ name, cursor }) => [name, cursor]).sort();
  assert.deepEqual(cursors(), [["marmot-changes-1", 42], ["marmot-changes-2", 7]]);
  world.reopen({ seqMap: new Map([["marmot-changes-1", 99]]) });
  world.arm();
  assert.deepEqual(cursors(), [["marmot-changes-1", 42], ["marmot-changes-2", 7]]);

  using fresh = new TestReplica(APPLICATION);
  fresh.reopen({ seqMap });
  fresh.arm();
  assert.deepEqual(fresh.replica.positions.all(), []);
});

Deno.test("cleanup removes what the original left too", () => {
  using world = new TestReplica(APPLICATION);
  const before = dumpSchema(world.application);
  world.application.exec(ORIGINAL);
  const connection = openDatabase(world.path);
  removeMarmot(connection);
  connection.close();
  assert.equal(dumpSchema(world.application), before);
});
