/**
 * How fast Marmot is, each figure next to its limit in the same run: real processes, real files, a real nats-server, an
 * application that knows nothing of Marmot.
 *
 *     deno task bench [--quick] [--only NAME]… [--repetitions 5] [--json FILE] [--growth] [--list]
 */
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import { errorText } from "../../src/errors.ts";
import { FROM_SOURCE } from "../marmot_process.ts";
import { BenchWorld } from "./bench_world.ts";
import { type Measurement, type Readings, type Result, resultsOf } from "./figure.ts";
import { MEASUREMENTS } from "./figures.ts";
import { GROWTH } from "./growth.ts";
import { describeMachine, formatResults } from "./report.ts";

const USAGE = `deno task bench measures Marmot next to the limits of SQLite and NATS in the same run.

  --quick            one repetition of little: whether all works, in a minute or so; not to be quoted
  --only NAME        only measurements whose name begins so; may be given more than once
  --repetitions N    how often each is measured, 5 unless told
  --json FILE        writes the results there as well
  --growth           the table of growth instead: nodes, shards, rows of a table, bytes of a row
  --executable PATH  runs this marmot and not the source
  --profile DIR      writes a profile of every node's process there (V8's --prof)
  --list             names the measurements`;

interface Measured {
  readonly measurement: Measurement;
  readonly results: readonly Result[];
  readonly failure?: string;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      "quick": { type: "boolean", default: false },
      "only": { type: "string", multiple: true, default: [] },
      "repetitions": { type: "string" },
      "json": { type: "string" },
      "growth": { type: "boolean", default: false },
      "executable": { type: "string" },
      "profile": { type: "string" },
      "list": { type: "boolean", default: false },
      "help": { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const all = values.growth ? GROWTH : MEASUREMENTS;
  const chosen = values.only.length === 0
    ? all
    : all.filter(({ name }) => values.only.some((start) => name.startsWith(start)));
  if (values.list) return console.log(chosen.map(({ name, title }) => `${name}: ${title}`).join("\n"));
  if (chosen.length === 0) {
    throw new Error(`no measurement begins with "${values.only.join('", "')}": see --list`);
  }
  const repetitions = Number(values.repetitions ?? (values.quick ? 1 : 5));
  if (!(repetitions >= 1)) throw new Error("--repetitions must be 1 or more");
  const command = commandOf(values);

  const measured: Measured[] = [];
  for (const measurement of chosen) {
    console.error(`${measurement.name} …`);
    measured.push(await measureAll(measurement, { repetitions, command, scale: { isQuick: values.quick } }));
  }
  console.log(`${repetitions} repetitions of each${values.quick ? ", quickly: not to be quoted" : ""}`);
  console.log(formatResults(measured).join("\n"));
  const failed = measured.filter(({ failure }) => failure !== undefined);
  for (const { measurement: { name }, failure } of failed) console.error(`\n${name} failed: ${failure}`);
  if (failed.length > 0) process.exitCode = 1;
  if (values.json !== undefined) {
    const document = {
      machine: describeMachine(),
      repetitions,
      isQuick: values.quick,
      at: new Date().toISOString(),
      results: measured.flatMap(({ results }) => results),
      failures: failed.map(({ measurement: { name }, failure }) => ({ measurement: name, failure })),
    };
    await writeFile(values.json, JSON.stringify(document, null, 2) + "\n");
  }
}

/** A measurement that fails must not take the others with it. */
async function measureAll(
  measurement: Measurement,
  { repetitions, command, scale }: {
    repetitions: number;
    command: readonly string[];
    scale: { isQuick: boolean };
  },
): Promise<Measured> {
  const readings: Readings[] = [];
  let failure: string | undefined;
  while (readings.length < repetitions && failure === undefined) {
    await using world = await BenchWorld.make(command);
    const interrupted = () => void world[Symbol.asyncDispose]().finally(() => process.exit(130));
    process.once("SIGINT", interrupted);
    try {
      readings.push(await measurement.measure(world, scale));
    } catch (error) {
      failure = errorText(error);
    } finally {
      process.removeListener("SIGINT", interrupted);
    }
  }
  const results = resultsOf(measurement, readings);
  return { measurement, results, ...(failure === undefined ? {} : { failure }) };
}

function commandOf({ executable, profile }: { executable?: string; profile?: string }): readonly string[] {
  if (executable !== undefined) return [executable];
  if (profile === undefined) return FROM_SOURCE;
  const [program = "", run = "", ...others] = FROM_SOURCE;
  return [
    program,
    run,
    `--v8-flags=--prof,--no-logfile-per-isolate,--logfile=${profile}/v8-%p.log`,
    ...others,
  ];
}

try {
  await main();
} catch (error) {
  console.error(`Cannot measure: ${errorText(error)}`);
  process.exitCode = 1;
}
