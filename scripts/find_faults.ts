/**
 * deno task faults [--seeds N] [--mode M] [--missing] [--keep] [words]: puts each deliberate fault whose name holds the words into
 * a copy of the engine, searches for the first history that finds it, and prints what was seen as a Markdown table. With
 * --keep the test takes that history from then on; with --missing only the faults are tried that have none.
 */
import { parseArgs } from "node:util";
import { type Fault, FAULTS } from "../tests/simulation/deliberate_faults.ts";
import { FaultyEngine, type Found } from "../tests/simulation/faulty_engine.ts";
import { runHistory } from "../tests/simulation/history.ts";
import { MODES } from "../tests/simulation/plan.ts";

const FOUND = new URL("../tests/simulation/found_faults.json", import.meta.url);

const { values, positionals } = parseArgs({
  args: Deno.args,
  options: {
    seeds: { type: "string", default: "1500" },
    mode: { type: "string" },
    keep: { type: "boolean", default: false },
    missing: { type: "boolean", default: false },
  },
  allowPositionals: true,
});
const mode = values.mode === undefined ? undefined : MODES.find((known) => known === values.mode);
if (values.mode !== undefined && mode === undefined) {
  console.error(`There is no mode "${values.mode}". Modes: ${MODES.join(", ")}`);
  Deno.exit(1);
}
const words = positionals.join(" ");
let missed = 0;
console.log("| fault | mode | seeds | seen first |\n| --- | --- | --- | --- |");
for (const fault of FAULTS.filter(({ name }) => name.includes(words) && !(values.missing && known()[name]))) {
  const within = mode ? { mode } : fault.within;
  const found = await search({ ...fault, within }, Number(values.seeds));
  if (!found) missed++;
  const [where, none] = "mode" in within
    ? [within.mode, `none of ${values.seeds}`]
    : ["by hand", "not found"];
  const said = found ? `${"mode" in within ? found.seed : ""} | ${cell(found.saw)}` : `${none} |`;
  console.log(`| ${fault.name} | ${where} | ${said} |`);
  if (found && values.keep) keep(fault, found);
}
Deno.exit(missed > 0 ? 1 : 0);

async function search(fault: Fault, seeds: number): Promise<Found | undefined> {
  await using engine = await FaultyEngine.make(fault);
  const { within } = fault;
  if (!("mode" in within)) return await engine.firstFailure(within);
  for (let from = 1; from <= seeds;) {
    const found = await engine.firstFailure({ ...within, from, to: seeds });
    // A seed that fails without the fault too says nothing.
    if (!found || !await runHistory(found.seed, within)) return found;
    from = found.seed + 1;
  }
  return undefined;
}

function known(): Record<string, Found> {
  return JSON.parse(Deno.readTextFileSync(FOUND));
}

function keep({ name }: Fault, found: Found): void {
  const all = { ...known(), [name]: found };
  const present = FAULTS.flatMap((fault) => all[fault.name] ? [[fault.name, all[fault.name]]] : []);
  Deno.writeTextFileSync(FOUND, JSON.stringify(Object.fromEntries(present), null, 2) + "\n");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").slice(0, 120);
}
