import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { TestReplica, upsert } from "../db/test_replica.ts";
import { runCommand } from "../support/command_run.ts";

/** Node 2's row lost twice here: against a pending change, and by its UNIQUE value. */
function makeConflicts(): TestReplica {
  const world = new TestReplica("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size)");
  world.arm();
  world.application.exec("INSERT INTO users VALUES (1, 'ours', 9007199254740993)");
  world.apply("users", [upsert(1n, "theirs", 9007199254740993n)]);
  world.apply("users", [upsert(5n, "wanted", 1.5)]);
  world.apply("users", [upsert(6n, "wanted", new Uint8Array(40))], { origin: 3n });
  return world;
}

Deno.test("marmot conflicts lists what lost, the newest first, with a limit", async () => {
  using world = makeConflicts();
  const { code, output } = await runCommand(["conflicts", "-db-path", world.path]);
  assert.equal(code, 0);
  assert.equal(
    output,
    "2  2023-11-14T22:13:20.000Z  users: a row here lost to node 3 (sequence 3 of s)\n" +
      '    id = 5, name = "wanted", size = 1.5\n' +
      "1  2023-11-14T22:13:20.000Z  users: a change of node 2 lost to node 1 (its place in the stream is not on record)\n" +
      '    id = 1, name = "theirs", size = 9007199254740993\n',
  );
  const limited = await runCommand(["conflicts", "-limit", "1", "-db-path", world.path]);
  assert.match(limited.output, /^2 [^]*\n1 older ones: -limit 2 lists all\.\n$/);
});

Deno.test("marmot conflicts show explains one, and JSON is exact", async () => {
  using world = makeConflicts();
  const shown = await runCommand(["conflicts", "show", "1", "-db-path", world.path]);
  assert.match(shown.output, /^conflict 1 in table users, /);
  assert.match(shown.output, /why: a change of the same row on the winning node stands later in the stream/);
  assert.match(shown.output, /\n {4}size = 9007199254740993\n/);
  const { output } = await runCommand(["conflicts", "show", "1", "--json", "-db-path", world.path]);
  const conflict = JSON.parse(output);
  assert.deepEqual(conflict.losing, [{
    kind: "upsert",
    rows: [{ id: { integer: "1" }, name: { text: "theirs" }, size: { integer: "9007199254740993" } }],
  }]);
  assert.deepEqual([conflict.losingOrigin, conflict.winnerOrigin, conflict.winnerStream], ["2", "1", null]);
  const list = JSON.parse((await runCommand(["conflicts", "-json", "-db-path", world.path])).output);
  assert.deepEqual(list.map((each: { id: number }) => each.id), [2, 1]);
});

Deno.test("an id that is none, or not on record, is one sentence", async () => {
  using world = makeConflicts();
  const none = await runCommand(["conflicts", "show", "one", "-db-path", world.path]);
  assert.deepEqual([none.code, none.error.split("\n")[0]], [
    2,
    'marmot: Cannot use "one" as an ID: it must be a whole number',
  ]);
  const gone = await runCommand(["conflicts", "show", "99", "-db-path", world.path]);
  assert.deepEqual([gone.code, gone.error.split("\n")[0]], [
    1,
    "marmot: Cannot show conflict 99: none of that ID is on record",
  ]);
});

Deno.test("a conflict whose image cannot be read is still listed", async () => {
  using world = makeConflicts();
  world.application.exec("UPDATE __marmot__conflict SET losing = x'ff', kind = 'new-kind' WHERE id = 1");
  const { code, output } = await runCommand(["conflicts", "-db-path", world.path]);
  assert.equal(code, 0);
  assert.match(output, /\n {4}the image cannot be read: /);
});

Deno.test("no conflict, no database, no Marmot: each is one sentence", async () => {
  const folder = await mkdtemp(join(tmpdir(), "marmot-cli-"));
  try {
    using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    world.arm();
    assert.equal(
      (await runCommand(["conflicts", "-db-path", world.path])).output,
      "No conflicts are on record.\n",
    );
    const plain = join(folder, "plain.db");
    using database = new DatabaseSync(plain);
    database.exec("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    const text = join(folder, "text.db");
    await writeFile(text, "this is no database, but longer than the header of one is: ".repeat(20));
    const cases: [string, RegExp][] = [
      [
        join(folder, "missing.db"),
        /^marmot: Cannot open the database ".*missing\.db": there is no such file$/,
      ],
      [folder, /^marmot: Cannot open the database ".*": it is not a file$/],
      [text, /^marmot: Cannot open the database ".*": the file is not an SQLite database$/],
      [plain, /^marmot: Cannot look after the database ".*plain\.db": Marmot never ran on it$/],
    ];
    for (const [path, sentence] of cases) {
      const { code, error } = await runCommand(["conflicts", "-db-path", path]);
      assert.equal(code, 1, error);
      assert.match(error.split("\n")[0] ?? "", sentence);
      assert.ok(error.split("\n").length <= 3, error);
    }
    assert.equal(database.prepare("PRAGMA journal_mode").get()?.["journal_mode"], "delete");
  } finally {
    await rm(folder, { recursive: true });
  }
});
