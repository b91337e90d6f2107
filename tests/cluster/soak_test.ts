/** A minute of faults of every kind on three nodes: nothing is lost, all end equal, nothing is left over. */
import assert from "node:assert/strict";
import { announcedSeed } from "../support/random.ts";
import { describeSoak, isSound, runSoak } from "../support/soak/soak.ts";

const SECONDS = 60;
const BROKEN_BROKER_SECONDS = 20;
/** A soak in which hardly anything happened shows nothing. */
const LEAST = { transactions: 1_000, faults: 60, kinds: 10 };

Deno.test("three nodes under a minute of faults lose nothing and end equal", async () => {
  const report = await runSoak({
    seconds: SECONDS,
    seed: announcedSeed("soak"),
    say: (text) => console.log(text),
  });
  console.log(describeSoak(report));
  assert.ok(isSound(report), describeSoak(report));
  assert.ok(report.transactions >= LEAST.transactions, `only ${report.transactions} transactions`);
  const injected = [...report.faults.values()].reduce((sum, count) => sum + count, 0);
  assert.ok(injected >= LEAST.faults && report.faults.size >= LEAST.kinds, `only ${injected} faults`);
});

Deno.test("three nodes lose nothing either under a broker that takes back what it has acknowledged", async () => {
  const report = await runSoak({
    seconds: BROKEN_BROKER_SECONDS,
    seed: announcedSeed("soak with a broker that loses data"),
    brokerLosesData: true,
  });
  console.log(describeSoak(report));
  assert.ok(isSound(report), describeSoak(report));
});
