/** The simulation bites: each deliberate fault is found by the history that stands with it, which holds without it. */
import assert from "node:assert/strict";
import { FAULTS } from "./deliberate_faults.ts";
import { FaultyEngine, type Found } from "./faulty_engine.ts";
import { runHistory, runPlan } from "./history.ts";

const FOUND: Record<string, Found> = JSON.parse(
  Deno.readTextFileSync(new URL("./found_faults.json", import.meta.url)),
);

for (const fault of FAULTS) {
  const { name, within } = fault;
  Deno.test(`the simulation finds that ${name}`, async () => {
    const found = FOUND[name];
    assert.ok(found, `no history is known that finds it; deno task faults --keep "${name}" searches for one`);
    const { seed } = found;
    const failure = "mode" in within
      ? await runHistory(seed, within)
      : await runPlan(readPlan(within.history));
    assert.equal(failure, undefined, failure && `it fails without the fault: ${failure.reason}`);
    await using engine = await FaultyEngine.make(fault);
    const again = await engine.firstFailure("mode" in within ? { ...within, from: seed, to: seed } : within);
    assert.ok(again, `seed ${seed} does not find it; deno task faults --keep "${name}" searches for another`);
  });
}

function readPlan(history: string): Parameters<typeof runPlan>[0] {
  return JSON.parse(Deno.readTextFileSync(new URL(`./faults/${history}.json`, import.meta.url))).plan;
}
