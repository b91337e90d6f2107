/** Says once in the log that the node has caught up: it has read what stood in the streams when it began. */
import type { Log } from "../observability/log.ts";
import { errorText } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeStreams } from "../stream/change_streams.ts";
import type { Node } from "./node.ts";

const LOOK_MS = 50;
const RETRY_MS = 1000;

/** Resolves when the node has caught up, or the signal aborts. */
export async function sayWhenReady(
  node: Pick<Node, "cursors">,
  { streams, log, clock, signal }: { streams: ChangeStreams; log: Log; clock: Clock; signal: AbortSignal },
): Promise<void> {
  const startMs = clock.nowMs();
  for (let shard = 1; shard <= streams.shards && !signal.aborted;) {
    try {
      const { lastSequence } = await streams.describe(shard);
      while ((node.cursors()[shard - 1]?.cursor ?? -1) < lastSequence && !signal.aborted) {
        await clock.sleep(LOOK_MS, signal);
      }
      shard++;
    } catch (error) {
      log.debug("cannot tell yet whether this node has caught up", { shard, reason: errorText(error) });
      await clock.sleep(RETRY_MS, signal);
    }
  }
  if (!signal.aborted) log.info("ready", { milliseconds: clock.nowMs() - startMs });
}
