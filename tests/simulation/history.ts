/**
 * One history: nodes that write, crash, are cut off and start again, as planned from a seed; then everything heals, and the
 * promises must hold. The same seed and mode are the same history.
 */
import type { Problem } from "./checker.ts";
import { drawPlan, type Mode, type Plan } from "./plan.ts";
import { World } from "./world.ts";

/** What went wrong, and the history that led there. */
export interface Failure extends Problem {
  readonly plan: Plan;
  readonly trace: readonly string[];
}

export interface HistoryOptions {
  /** The mode instead of the one that the seed draws. */
  readonly mode?: Mode | undefined;
}

/** Runs the history of a seed; undefined if everything held. */
export function runHistory(seed: number, { mode }: HistoryOptions = {}): Promise<Failure | undefined> {
  return runPlan(drawPlan(seed, mode));
}

/** Runs a history as planned; undefined if everything held. */
export async function runPlan(plan: Plan): Promise<Failure | undefined> {
  const problem = await play(plan);
  if (!problem) return undefined;
  // The words are only for a failure: the same history again tells them.
  const trace: string[] = [];
  await play(plan, trace);
  return { ...problem, plan, trace };
}

/** What happened in the history of a seed, in words. */
export async function traceOf(seed: number, { mode }: HistoryOptions = {}): Promise<readonly string[]> {
  const trace: string[] = [];
  await play(drawPlan(seed, mode), trace);
  return trace;
}

async function play(plan: Plan, trace?: string[]): Promise<Problem | undefined> {
  const world = new World(plan, trace);
  try {
    return await world.run();
  } catch (error) {
    return { check: "error", reason: error instanceof Error ? error.stack ?? error.message : String(error) };
  } finally {
    world.end();
  }
}
