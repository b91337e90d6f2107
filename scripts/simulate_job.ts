/**
 * One job of `deno task simulate`, as a process: takes ranges of seeds as lines of JSON, runs their histories, and answers
 * each with a line that holds those that failed. It ends with its input. (Two threads of one process wait for SQLite's locks.)
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { type Failure, runHistory } from "../tests/simulation/history.ts";
import type { Mode } from "../tests/simulation/plan.ts";

export interface Range {
  readonly from: number;
  /** The first seed that is not in it. */
  readonly to: number;
  readonly mode?: Mode | undefined;
}

export type RangeResult = readonly Failure[];

if (import.meta.main) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { from, to, mode }: Range = JSON.parse(line);
    const failures: Failure[] = [];
    for (let seed = from; seed < to; seed++) {
      const failure = await runHistory(seed, { mode });
      if (failure) failures.push(failure);
    }
    console.log(JSON.stringify(failures));
  }
}
