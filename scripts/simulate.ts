/**
 * deno task simulate --seeds N --from S [--mode M] [--jobs J] [--shrink] [--keep FILE]: runs N histories from seed S on, in
 * J processes, or as many as there are until SIGINT (Ctrl+C). It prints the first that fails as it happened (with --shrink:
 * the smallest part of it that fails still; with --keep the plan of that is written to a file) and the seeds of the others.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { describeFailure, shrink } from "../tests/simulation/shrink.ts";
import { type Mode, MODES } from "../tests/simulation/plan.ts";
import type { Failure } from "../tests/simulation/history.ts";
import type { Range, RangeResult } from "./simulate_job.ts";

/** Histories that a job takes at once. */
const RANGE = 25;
const SHRINK_MS = 60_000;

const { values } = parseArgs({
  args: Deno.args,
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    mode: { type: "string" },
    jobs: { type: "string", default: "1" },
    shrink: { type: "boolean", default: false },
    keep: { type: "string" },
  },
});
const mode = values.mode === undefined ? undefined : MODES.find((known) => known === values.mode);
if (values.mode !== undefined && mode === undefined) {
  console.error(`There is no mode "${values.mode}". Modes: ${MODES.join(", ")}`);
  Deno.exit(1);
}
Deno.exit(await simulate(Number(values.from), Number(values.seeds), mode) > 0 ? 1 : 0);

/** Runs the histories and returns how many failed. */
async function simulate(from: number, count: number, mode: Mode | undefined): Promise<number> {
  const began = performance.now();
  const failures: Failure[] = [];
  let next = from;
  let done = 0;
  let isStopped = false;
  Deno.addSignalListener("SIGINT", () => isStopped = true);
  const takeRange = (): Range | undefined => {
    if (isStopped || next >= from + count) return undefined;
    const range = { from: next, to: Math.min(next + RANGE, from + count), mode };
    next = range.to;
    return range;
  };
  const rate = () => Math.round(done / ((performance.now() - began) / 60_000));
  const jobs = Array.from({ length: Number(values.jobs) }, async () => {
    const job = startJob();
    for (let range = takeRange(); range; range = takeRange()) {
      const result = await job.run(range);
      for (const failure of result) {
        console.log(
          `seed ${failure.plan.seed} (${failure.plan.mode}): ${failure.check}, ${firstLine(failure.reason)}`,
        );
      }
      failures.push(...result);
      done += range.to - range.from;
      if (Deno.stdout.isTerminal()) {
        await Deno.stdout.write(
          new TextEncoder().encode(`\r${done} of ${count}, ${failures.length} failed, ${rate()} a minute `),
        );
      }
    }
    job.end();
  });
  await Promise.all(jobs);
  const total = `${done} histories from seed ${from}, ${failures.length} failed, ${rate()} a minute`;
  const first = failures.toSorted((a, b) => a.plan.seed - b.plan.seed)[0];
  if (first) tell(values.shrink ? await shrink(first, SHRINK_MS) : first);
  console.log(total);
  return failures.length;
}

/** Starts a process that runs histories; it goes on through SIGINT, so that what it has begun is counted. */
function startJob(): { run(range: Range): Promise<RangeResult>; end(): void } {
  const script = fileURLToPath(new URL("./simulate_job.ts", import.meta.url));
  const job = spawn(Deno.execPath(), ["run", "-A", script], {
    stdio: ["pipe", "pipe", "inherit"],
    detached: true,
  });
  const answers = createInterface({ input: job.stdout })[Symbol.asyncIterator]();
  return {
    async run(range) {
      job.stdin.write(JSON.stringify(range) + "\n");
      const answer = await answers.next();
      if (answer.done) {
        throw new Error(`A job ended within the histories of seeds ${range.from} to ${range.to - 1}`);
      }
      return JSON.parse(answer.value);
    },
    end: () => job.stdin.end(),
  };
}

/** Prints a failure, and writes its plan to a file where that is asked for. */
function tell(failure: Failure): void {
  console.log(describeFailure(failure));
  if (values.keep === undefined) return;
  Deno.writeTextFileSync(
    values.keep,
    JSON.stringify({ cause: failure.reason, plan: failure.plan }, null, 2) + "\n",
  );
  console.log(`The plan is in ${values.keep}.`);
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}
