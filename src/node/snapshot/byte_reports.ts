/** Tells the log now and then how far work on a large file is, so that nobody wonders whether it goes on. */
import type { Log } from "../../observability/log.ts";
import type { Clock } from "../../runtime/clock.ts";

/** Between two lines about one work. */
export const SAY_PROGRESS_MS = 5000;

/** Told how many bytes are done; `total` is Infinity where that is not known. */
export type OnBytes = (done: number, total: number) => void;

/** For work that begins now. */
export function sayNowAndThen(event: string, { log, clock }: { log: Log; clock: Clock }): OnBytes {
  let saidAtMs = clock.nowMs();
  return (done, total) => {
    if (clock.nowMs() - saidAtMs < SAY_PROGRESS_MS) return;
    saidAtMs = clock.nowMs();
    log.info(event, { bytes: done, of: Number.isFinite(total) ? total : undefined });
  };
}
