/**
 * A first look at speed, in one run: what the triggers cost an application, how long a change takes to the next node,
 * and how many rows a second get there in bulk. Real processes, real files, loopback.
 *
 *     deno task bench:first-look [--json] [--repetitions 3]
 */
import { cpus } from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";
import { versionText } from "../src/cli/version.ts";
import { formatCount, formatTable } from "./demo/live_view.ts";
import { BenchWorld } from "./first_look/bench_world.ts";
import { measureInsertSpeed } from "./first_look/insert_speed.ts";
import { measureLatency } from "./first_look/latency.ts";
import type { Spread } from "./first_look/spread.ts";
import { measureThroughput } from "./first_look/throughput.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: { json: { type: "boolean", default: false }, repetitions: { type: "string", default: "3" } },
});
const repetitions = Number(values.repetitions);

await using world = await BenchWorld.make();
const interrupted = () => void world[Symbol.asyncDispose]().finally(() => process.exit(130));
process.once("SIGINT", interrupted);

const say = (text: string) => console.error(text);
say(`${repetitions} repetitions of each: median, and lowest to highest in brackets`);
say("inserts of an application …");
const inserts = await measureInsertSpeed(world, repetitions);
say("latency …");
const latency = await measureLatency(world, repetitions);
say("throughput …");
const throughput = await measureThroughput(world, repetitions);

if (values.json) {
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? "", version: versionText().split("\n") };
  console.log(JSON.stringify({ repetitions, machine, inserts, latency, throughput }, null, 2));
} else {
  const lines = [["measurement", "", "figure", "lowest to highest"]];
  for (const { load, plain, triggers, node, triggersShare, nodeShare } of inserts) {
    lines.push([`inserts/s, ${load}`, "plain", ...show(plain)]);
    lines.push(["", `with triggers: ${triggersShare.toFixed(2)} of plain`, ...show(triggers)]);
    lines.push(["", `with a node running: ${nodeShare.toFixed(2)} of plain`, ...show(node)]);
  }
  lines.push(["commit to applied, ms", "p50", ...show(latency.p50Ms, 2)]);
  lines.push(["", `p99 of ${latency.samples} rows`, ...show(latency.p99Ms, 2)]);
  lines.push(["", "looked at every", latency.pollingMs.toFixed(2), ""]);
  lines.push([
    "rows/s from node to node",
    `${formatCount(throughput.rows)} rows`,
    ...show(throughput.rowsPerSecond),
  ]);
  lines.push(["", "seconds in all", ...show(throughput.seconds, 2)]);
  lines.push(["", "seconds that the application wrote", ...show(throughput.writingSeconds, 2)]);
  console.log(formatTable(lines).join("\n"));
}
process.removeListener("SIGINT", interrupted);

function show({ median, min, max }: Spread, digits = 0): [string, string] {
  const format = (figure: number) => digits === 0 ? formatCount(Math.round(figure)) : figure.toFixed(digits);
  return [format(median), `[${format(min)} – ${format(max)}]`];
}
