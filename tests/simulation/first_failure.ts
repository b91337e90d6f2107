/**
 * The first history that fails, as a program of its own: a faulty engine may crash or hang. Takes a range of seeds of
 * a mode, or a kept history. Prints a line of JSON before each history, and one when it has failed.
 */
import { type Failure, runHistory, runPlan } from "./history.ts";
import type { Plan } from "./plan.ts";
import type { Task } from "./faulty_engine.ts";

const task: Task = JSON.parse(Deno.args[0] ?? "");
if ("history" in task) {
  const path = new URL(`./faults/${task.history}.json`, import.meta.url);
  const { plan }: { plan: Plan } = JSON.parse(Deno.readTextFileSync(path));
  begin(plan.seed);
  tell(plan.seed, await runPlan(plan));
} else {
  for (let seed = task.from; seed <= task.to; seed++) {
    begin(seed);
    tell(seed, await runHistory(seed, { mode: task.mode }));
  }
}

function begin(seed: number): void {
  console.log(JSON.stringify({ seed }));
}

function tell(seed: number, failure: Failure | undefined): void {
  if (!failure) return;
  const [reason] = failure.reason.split("\n", 1);
  console.log(JSON.stringify({ seed, saw: `${failure.check}: ${reason}` }));
  Deno.exit(0);
}
