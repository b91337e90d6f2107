/** A fixed set of random histories. `deno task simulate --seeds N --from S` runs others. */
import assert from "node:assert/strict";
import { runHistory, traceOf } from "./history.ts";

const HISTORIES_PER_TEST = 50;

/** Seeds that have failed once, each with what was wrong. */
const REGRESSIONS: readonly (readonly [seed: number, cause: string])[] = [
  [15668, "a victim whose row is there stayed in the log of a node that had nothing else to write"],
  [15953, "the same, under a NOCASE key"],
];

for (let from = 1; from <= 300; from += HISTORIES_PER_TEST) {
  Deno.test(`histories ${from} to ${from + HISTORIES_PER_TEST - 1} converge and lose nothing`, async () => {
    for (let seed = from; seed < from + HISTORIES_PER_TEST; seed++) await assertHistory(seed);
  });
}

for (const [seed, cause] of REGRESSIONS) {
  Deno.test(`history ${seed} converges, which once failed: ${cause}`, () => assertHistory(seed));
}

Deno.test("a history is the same whenever its seed is", async () => {
  assert.deepEqual(await traceOf(7), await traceOf(7));
});

async function assertHistory(seed: number): Promise<void> {
  const failure = await runHistory(seed);
  assert.equal(failure, undefined, failure && `seed ${seed}: ${failure.reason}\n${failure.trace.join("\n")}`);
}
