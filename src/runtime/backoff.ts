/**
 * Jittered exponential backoff: how long to wait before the next try. The jitter keeps many nodes from
 * coming back to one server in the same moment.
 */

export interface BackoffOptions {
  /** Upper bound of the first delay, in milliseconds. */
  readonly firstMs: number;
  /** Upper bound of every delay, in milliseconds. */
  readonly maxMs: number;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
}

/**
 * Milliseconds to wait after `failures` tries that failed in a row (from 1): between half of the bound and the
 * bound, which doubles with each failure.
 */
export function backoffDelayMs(failures: number, { firstMs, maxMs, random }: BackoffOptions): number {
  const boundMs = Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 52));
  return boundMs / 2 + random() * boundMs / 2;
}
