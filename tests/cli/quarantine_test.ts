import assert from "node:assert/strict";
import { Connection } from "../../src/db/connection.ts";
import { TestReplica, upsert } from "../db/test_replica.ts";
import { runCommand } from "../support/command_run.ts";

/** Holds three messages: one of a format of the future, one of the original's that is broken, one without any sense. */
function makeQuarantine(): TestReplica {
  const world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  world.arm();
  const ofFuture = { ...world.message("t", [upsert(2n, 9007199254740993n)]), format: "batch/2" };
  const broken = { ...world.message("t", []), format: null, payload: new TextEncoder().encode("\u001b[2J") };
  const long = { ...world.message("t", []), payload: new Uint8Array(5000) };
  const outcome = world.replica.apply([ofFuture, broken, long], { rows: 9, milliseconds: 1000 });
  assert.equal(outcome?.quarantined, 3);
  return world;
}

function upgrade(world: TestReplica): void {
  world.application.exec("UPDATE __marmot__quarantine SET format = 'batch/1' WHERE format = 'batch/2'");
}

Deno.test("marmot quarantine lists what was put aside, the newest first", async () => {
  using world = makeQuarantine();
  const { code, output } = await runCommand(["quarantine", "-db-path", world.path, "-limit", "2"]);
  assert.equal(code, 0);
  const lines = output.split("\n");
  assert.match(lines[0] ?? "", /^3 {2}2023-11-14T22:13:20.000Z {2}sequence 3 of s, 5000 bytes$/);
  assert.match(lines[2] ?? "", /^2 {2}.* sequence 2 of s, 4 bytes$/);
  assert.equal(lines[4], "1 older ones: -limit 3 lists all.");
  const json = JSON.parse((await runCommand(["quarantine", "-json", "-db-path", world.path])).output);
  assert.deepEqual(json.map((each: { id: number; format: string }) => [each.id, each.format]), [
    [3, "batch/1"],
    [2, null],
    [1, "batch/2"],
  ]);
});

Deno.test("marmot quarantine show decodes as far as it can, and gives the bytes", async () => {
  using world = makeQuarantine();
  const show = async (...args: string[]) =>
    (await runCommand(["quarantine", "show", ...args, "-db-path", world.path])).output;
  assert.match(await show("1"), /\n {2}not readable: Cannot read a message of format "batch\/2"/);
  assert.match(await show("2"), /\n {4}1b5b324a\n$/);
  assert.match(await show("3"), /\n {2}5000 bytes, the first 4096; -json has all:\n {4}(00){32}\n/);
  assert.equal(JSON.parse(await show("3", "-json")).payload, "00".repeat(5000));
  upgrade(world);
  assert.match(
    await show("1"),
    /\n {2}of node 2, run 1, number 1, part 1 of 1\n {2}1 event of table t:\n {4}id = 2\n {4}v = 9007199254740993\n/,
  );
  const { events, head } = JSON.parse(await show("1", "-json"));
  assert.deepEqual(events, [{
    kind: "upsert",
    rows: [{ id: { integer: "2" }, v: { integer: "9007199254740993" } }],
  }]);
  assert.equal(head.origin, "2");
});

Deno.test("marmot quarantine retry says what was applied, what stays, and why", async () => {
  using world = makeQuarantine();
  upgrade(world);
  const retrying = runCommand(["quarantine", "retry", "all", "-db-path", world.path]);
  // What a node does about it.
  assert.ok(world.replica.takeOperatorRequest());
  for (let after = 0, more = true; more;) {
    const result = world.replica.retryQuarantined(after);
    more = result !== undefined;
    after = result?.id ?? after;
  }
  const { code, output } = await retrying;
  assert.equal(code, 0);
  assert.match(output, /^1 message applied, 2 stay in quarantine\.\n {2}3: .+\n {2}2: .+\n$/);
  assert.deepEqual(world.rows("SELECT id FROM t WHERE v = 9007199254740993"), [[2]]);
  const gone = await runCommand(["quarantine", "retry", "1", "-db-path", world.path]);
  assert.deepEqual([gone.code, gone.error.split("\n")[0]], [
    1,
    "marmot: Cannot try message 1 again: it is not in quarantine",
  ]);
});

Deno.test("a mark waits where no node runs, and the command says so", async () => {
  using world = makeQuarantine();
  const { code, output } = await runCommand(["quarantine", "retry", "2", "-db-path", world.path]);
  assert.equal(code, 0);
  assert.match(output, /^1 message marked\. No node has taken up all that is marked: /);
  assert.match(
    (await runCommand(["quarantine", "-db-path", world.path])).output,
    /\n2 {2}.*, to be tried again\n/,
  );
});

Deno.test("marmot quarantine discard asks, and refuses where nobody is there to answer", async () => {
  using world = makeQuarantine();
  const discard = (answer: boolean | null, ...args: string[]) =>
    runCommand(["quarantine", "discard", ...args, "-db-path", world.path], answer);
  const unasked = await discard(null, "2");
  assert.equal(unasked.code, 2);
  assert.equal(
    unasked.error,
    "marmot: Cannot discard message 2 in quarantine: nobody is here to be asked\n-yes discards without asking.\n",
  );
  const no = await discard(false, "2");
  assert.deepEqual([no.output, no.questions], ["Nothing was discarded.\n", [
    "Discard message 2 in quarantine?",
  ]]);
  assert.equal((await discard(true, "2")).output, "1 message discarded.\n");
  assert.equal((await discard(null, "all", "--yes")).output, "2 messages discarded.\n");
  assert.equal(
    (await runCommand(["quarantine", "-db-path", world.path])).output,
    "Nothing is in quarantine.\n",
  );
  assert.equal((await discard(true, "2")).code, 1);
});

Deno.test("a database of an older release is one sentence", async () => {
  using world = makeQuarantine();
  world.application.exec("DROP TABLE __marmot__followed");
  const { code, error } = await runCommand(["quarantine", "-db-path", world.path]);
  assert.equal(code, 1);
  assert.match(
    error,
    /^marmot: Cannot look after the database ".*": Marmot's tables in it are of an older release\n/,
  );
  const connection = new Connection(world.path);
  assert.equal(connection.integer("SELECT count(*) FROM __marmot__quarantine"), 3);
  connection.close();
});
