/** A fixed set of random histories. `deno task simulate --seeds N --from S` runs others. */
import assert from "node:assert/strict";
import { type Failure, runHistory, runPlan, traceOf } from "./history.ts";
import { drawPlan, type Mode, type Plan } from "./plan.ts";
import { describeFailure } from "./shrink.ts";

const HISTORIES_PER_MODE = 40;
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
  "unsafe broker",
];

for (const mode of MODES) {
  Deno.test(`histories 1 to ${HISTORIES_PER_MODE} of mode "${mode}" keep all promises`, async () => {
    for (let seed = 1; seed <= HISTORIES_PER_MODE; seed++) assertHeld(await runHistory(seed, { mode }));
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

Deno.test("a plan that was written down and read again is the same history", async () => {
  const plan = drawPlan(11, "drawn");
  assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
  assertHeld(await runPlan(JSON.parse(JSON.stringify(plan))));
});

function assertHeld(failure: Failure | undefined): void {
  assert.equal(failure, undefined, failure && describeFailure(failure));
}
