/** deno task simulate --seeds N --from S: runs N histories from seed S on, and prints the first that fails. */
import { parseArgs } from "node:util";
import { runHistory } from "../tests/simulation/history.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: { seeds: { type: "string", default: "1000" }, from: { type: "string", default: "1" } },
});
const from = Number(values.from);
const count = Number(values.seeds);
const began = performance.now();
let failures = 0;
for (let seed = from; seed < from + count; seed++) {
  const failure = await runHistory(seed);
  if (failure) {
    failures++;
    if (failures === 1) console.log(failure.trace.join("\n"));
    console.log(`seed ${seed}: ${failure.reason}`);
  }
}
const minutes = (performance.now() - began) / 60_000;
console.log(
  `${count} histories from seed ${from}, ${failures} failed, ${Math.round(count / minutes)} a minute`,
);
Deno.exit(failures > 0 ? 1 : 0);
