/** Makes a failing history smaller: leaves out steps, then nodes and tables, as long as the same check fails. */
import { type Failure, runPlan } from "./history.ts";
import type { Plan } from "./plan.ts";

/**
 * The smallest failure found in so many milliseconds. Steps are left out in halves, then in quarters, and so on to
 * single ones. Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.
 */
export async function shrink(failure: Failure, limitMs: number): Promise<Failure> {
  const until = performance.now() + limitMs;
  let best = failure;
  const isSmaller = async (plan: Plan): Promise<boolean> => {
    if (performance.now() >= until) return false;
    const smaller = await runPlan(plan);
    if (smaller?.check !== failure.check) return false;
    best = smaller;
    return true;
  };
  for (let before = -1; before !== sizeOf(best.plan) && performance.now() < until;) {
    before = sizeOf(best.plan);
    for (
      let size = Math.ceil(best.plan.steps.length / 2);
      size > 0;
      size = size === 1 ? 0 : Math.ceil(size / 2)
    ) {
      for (let at = 0; at < best.plan.steps.length;) {
        const steps = best.plan.steps.toSpliced(at, size);
        if (!await isSmaller({ ...best.plan, steps })) at += size;
      }
    }
    for (const node of best.plan.nodes.slice(1)) {
      const nodes = best.plan.nodes.filter((id) => id !== node);
      await isSmaller({ ...best.plan, nodes });
    }
    for (const { name } of best.plan.tables) {
      const tables = best.plan.tables.filter((table) => table.name !== name);
      if (tables.length > 0) await isSmaller({ ...best.plan, tables });
    }
  }
  return best;
}

function sizeOf({ steps, nodes, tables }: Plan): number {
  return steps.length + nodes.length + tables.length;
}

/** A failure in words: what did not hold, and all that happened before. */
export function describeFailure({ plan, check, reason, trace }: Failure): string {
  return [
    `seed ${plan.seed}, mode "${plan.mode}", ${plan.nodes.length} nodes, ${plan.steps.length} steps:`,
    ...trace,
    `${check} does not hold: ${reason}`,
  ].join("\n");
}
