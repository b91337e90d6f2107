/** How a failure looks to the person who started Marmot, and the exit code that it ends with. */

import { errorText, MarmotError } from "../errors.ts";
import { joinLines } from "./text.ts";

/** Done, or stopped by a signal. */
export const EXIT_DONE = 0;
export const EXIT_FAILED = 1;
/** The command line was wrong: starting it again without a change can't help. */
export const EXIT_USAGE = 2;
/** What was compared is not equal. */
export const EXIT_DIFFERENT = 3;

export interface Failure {
  /** Ended by a line break. */
  readonly text: string;
  readonly exitCode: number;
}

/**
 * One sentence and a hint for what Marmot raises on purpose; anything else is said to be a defect, with its
 * stack when `verbose`.
 */
export function describeFailure(error: unknown, verbose: boolean): Failure {
  if (error instanceof MarmotError && error.code !== "internal") {
    const lines = [`marmot: ${error.message}`];
    if (error.hint !== undefined) lines.push(error.hint);
    if (verbose) lines.push(...causesOf(error));
    return { text: joinLines(lines), exitCode: error.code === "usage" ? EXIT_USAGE : EXIT_FAILED };
  }
  const lines = [`marmot: This is a defect in Marmot: ${errorText(error)}`];
  if (verbose && error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  if (verbose) lines.push(...causesOf(error));
  lines.push(
    verbose
      ? "Please report it with all of the above."
      : "Please report it; with -verbose the place where it happened is printed too.",
  );
  return { text: joinLines(lines), exitCode: EXIT_FAILED };
}

function causesOf(error: unknown): string[] {
  const lines: string[] = [];
  const seen = new Set<unknown>([error]);
  for (
    let cause = error instanceof Error ? error.cause : undefined;
    cause !== undefined && !seen.has(cause);
    cause = cause instanceof Error ? cause.cause : undefined
  ) {
    seen.add(cause);
    lines.push(`Caused by: ${errorText(cause)}`);
  }
  return lines;
}
