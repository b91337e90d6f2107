import assert from "node:assert/strict";
import { TestReplica } from "../db/test_replica.ts";
import { runCommand } from "../support/command_run.ts";

Deno.test("marmot pause begins and ends, and says what it means", async () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)");
  world.arm();
  const on = ["-db-path", world.path];
  const begun = await runCommand(["pause", ...on]);
  assert.equal(begun.code, 0, begun.error);
  assert.match(
    begun.output,
    /^Paused: 2 triggers were removed, the others go on capturing\.\nEnd the pause .*marmot pause -end/,
  );
  assert.match((await runCommand(["pause", ...on])).output, /^Paused already, since 20\d\d-/);
  assert.equal(JSON.parse((await runCommand(["pause", "-json", ...on])).output).isPaused, true);
  const ending = runCommand(["pause", "--end", ...on]);
  world.arm();
  assert.deepEqual(await ending, {
    code: 0,
    output: "The pause is over, and the node replicates again.\n",
    error: "",
    questions: [],
  });
  const again = await runCommand(["pause", "-end", ...on]);
  assert.deepEqual([again.code, again.error], [
    1,
    `marmot: Cannot end the pause of "${world.path}": it is not paused\n`,
  ]);
});
