/**
 * deno task soak [--seconds N] [--seed S] [--broker-loses-data] [-- flags of the nodes]: three nodes under faults of every
 * kind, as long as one likes. Prints the figures; ends with 1 when a row was lost, differs or is left over.
 */
import { parseArgs } from "node:util";
import process from "node:process";
import { describeSoak, isSound, runSoak } from "../tests/support/soak/soak.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  args: Deno.args,
  options: {
    "seconds": { type: "string", default: "60" },
    "seed": { type: "string" },
    "broker-loses-data": { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed ?? Date.now() % 2 ** 32);
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  console.error("Cannot run a soak: --seconds must be a number above 0 and --seed a whole number");
  process.exit(1);
}
console.log(`seed ${seed}`);
const report = await runSoak({
  seconds,
  seed,
  flags: positionals,
  brokerLosesData: values["broker-loses-data"],
  say: (text) => console.log(text),
});
console.log(describeSoak(report));
process.exitCode = isSound(report) ? 0 : 1;
