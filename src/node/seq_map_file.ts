/**
 * The copy of the cursors that -seq-map-path names, as the original kept it: {stream name: sequence}. Written for
 * people and for the original; this program believes its database alone.
 */
import type { StreamPositions } from "../db/state/stream_positions.ts";
import { errorText } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { replaceFile } from "../runtime/atomic_file.ts";
import type { Clock } from "../runtime/clock.ts";
import { encodeSeqMap } from "../wire/seq_map.ts";

const INTERVAL_MS = 1000;

/** Writes the file when cursors have moved, at most once a second, and once more when the signal aborts. */
export async function writeSeqMap(
  path: string,
  { positions, log, clock, signal }: {
    positions: StreamPositions;
    log: Log;
    clock: Clock;
    signal: AbortSignal;
  },
): Promise<void> {
  let written = "";
  let hasFailed = false;
  const write = async () => {
    const cursors = new Map(positions.all().map((position) => [position.name, position.cursor]));
    const text = JSON.stringify([...cursors]);
    if (text === written) return;
    try {
      await replaceFile(path, encodeSeqMap(cursors));
      written = text;
    } catch (error) {
      if (!hasFailed) {
        log.warn("cannot write the seq-map file, replication goes on without it", {
          path,
          reason: errorText(error),
        });
      }
      hasFailed = true;
    }
  };
  while (!signal.aborted) {
    await clock.sleep(INTERVAL_MS, signal);
    await write();
  }
}
