/** Waiting for what a node that runs on the same database does about a command. */

import { systemClock } from "../runtime/clock.ts";

/** A running node looks several times a second; one that is busy applying may take longer. */
const PATIENCE_MS = 3000;
const LOOK_MS = 50;

/** Asks until the answer is true. False where it is not true in time, or a signal stops the process: no node runs. */
export async function waitForNode(isDone: () => boolean, stop: AbortSignal): Promise<boolean> {
  for (let waitedMs = 0; !isDone(); waitedMs += LOOK_MS) {
    if (waitedMs >= PATIENCE_MS || stop.aborted) return false;
    await systemClock.sleep(LOOK_MS, stop);
  }
  return true;
}
