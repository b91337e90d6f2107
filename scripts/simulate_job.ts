/** One job of `deno task simulate`: runs the histories of a range of seeds, and answers with those that failed. */
import { type Failure, runHistory } from "../tests/simulation/history.ts";
import type { Mode } from "../tests/simulation/plan.ts";

export interface Range {
  readonly from: number;
  /** The first seed that is not in it. */
  readonly to: number;
  readonly mode: Mode | undefined;
}

export type RangeResult = readonly Failure[];

const job = globalThis as unknown as {
  onmessage: (event: MessageEvent<Range>) => void;
  postMessage(result: RangeResult): void;
};

job.onmessage = async ({ data: { from, to, mode } }) => {
  const failures: Failure[] = [];
  for (let seed = from; seed < to; seed++) {
    const failure = await runHistory(seed, { mode });
    if (failure) failures.push(failure);
  }
  job.postMessage(failures);
};
