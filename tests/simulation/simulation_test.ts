/** A fixed set of random histories. `deno task simulate --seeds N --from S` runs others. */
import assert from "node:assert/strict";
import { type Failure, runHistory, runPlan, traceOf } from "./history.ts";
import { drawPlan, type Mode, type Plan } from "./plan.ts";
import { describeFailure } from "./shrink.ts";

const HISTORIES_PER_MODE = 40;
/** Of modes with snapshots, where a history takes three times as long. */
const HISTORIES_WITH_SNAPSHOTS = 20;
/** Histories that have failed once, shrunk, each with its cause. */
const KEPT = new URL("./histories/", import.meta.url);
const MODES: readonly Mode[] = [
  "any",
  "sole",
  "own",
  "turns",
  "drawn",
  "retention",
  "files",
  "rollout",
  "migration",
  "unsafe broker",
  "window",
  "snapshots",
  "late nodes",
];

for (const mode of MODES) {
  const count = mode === "snapshots" || mode === "late nodes" ? HISTORIES_WITH_SNAPSHOTS : HISTORIES_PER_MODE;
  Deno.test(`histories 1 to ${count} of mode "${mode}" keep all promises`, async () => {
    for (let seed = 1; seed <= count; seed++) assertHeld(await runHistory(seed, { mode }));
  });
}

for (const { name } of [...Deno.readDirSync(KEPT)].toSorted((a, b) => a.name < b.name ? -1 : 1)) {
  const { cause, plan }: { cause: string; plan: Plan } = JSON.parse(
    Deno.readTextFileSync(new URL(name, KEPT)),
  );
  Deno.test(`${name.replaceAll("_", " ").replace(".json", "")} keeps all promises, which once failed: ${cause}`, async () => {
    assertHeld(await runPlan(plan));
  });
}

Deno.test("a history is the same whenever its seed is", async () => {
  assert.deepEqual(await traceOf(7), await traceOf(7));
});

Deno.test("what waits for real files takes no virtual time, so a history with snapshots is the same as well", async () => {
  // Folders and objects have names that no seed tells.
  const names = /marmot-simulation-\w+|\b[0-9a-f]{8}\b/g;
  const tell = async () =>
    (await traceOf(5, { mode: "snapshots" })).map((line) => line.replaceAll(names, ""));
  const told = await tell();
  assert.ok(told.some((line) => line.includes("has a database")), told.join("\n"));
  assert.deepEqual(await tell(), told);
});

Deno.test("a plan that was written down and read again is the same history", async () => {
  const plan = drawPlan(11, "drawn");
  assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
  assertHeld(await runPlan(JSON.parse(JSON.stringify(plan))));
});

function assertHeld(failure: Failure | undefined): void {
  assert.equal(failure, undefined, failure && describeFailure(failure));
}
