/** Waiting for a database that another connection has locked, without blocking the event loop. */
import { DatabaseBusyError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";

/** Between two tries. */
const BUSY_SLEEP_MS = { min: 2, max: 10 };

export interface WhileBusyParts {
  readonly clock: Clock;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
  readonly signal: AbortSignal;
}

/** Calls until the database is not locked, and returns the result; undefined when the signal aborts before that. */
export async function whileBusy<T>(
  work: () => T,
  { clock, random, signal }: WhileBusyParts,
): Promise<T | undefined> {
  const { min, max } = BUSY_SLEEP_MS;
  while (!signal.aborted) {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof DatabaseBusyError)) throw error;
      await clock.sleep(min + (max - min) * random(), signal);
    }
  }
  return undefined;
}
