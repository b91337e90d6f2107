/** Says once a second what the node did in it, at debug level; nothing when nothing happened. */
import type { Replica } from "../db/replica.ts";
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Node } from "./node.ts";

const INTERVAL_MS = 1000;

export async function reportProgress(
  node: Node,
  { replica, log, clock, signal }: { replica: Replica; log: Log; clock: Clock; signal: AbortSignal },
): Promise<void> {
  let before = "";
  while (!signal.aborted) {
    await clock.sleep(INTERVAL_MS, signal);
    const now = JSON.stringify(node.statistics);
    if (now !== before) {
      log.debug("progress", { ...node.statistics, waiting: node.queued, logId: replica.log.highestId() });
    }
    before = now;
  }
}
