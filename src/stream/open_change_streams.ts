/** The one call by which a node gets its streams: connect, set up, hand over. */
import { jetstreamManager } from "@nats-io/jetstream";
import type { Log } from "../observability/log.ts";
import type { ChangeStreams } from "./change_streams.ts";
import { connect, REQUEST_TIMEOUT_MS, retryUntilDone } from "./connection.ts";
import { JetStreamChangeStreams } from "./jetstream_change_streams.ts";
import { assertNaming } from "./names.ts";
import { setUpStreams } from "./stream_setup.ts";

export interface OpenOptions {
  /** NATS URLs, each of which may be a list with commas. */
  readonly urls: readonly string[];
  readonly nodeId: bigint;
  readonly streamPrefix: string;
  readonly subjectPrefix: string;
  readonly shards: number;
  /** `log-replicas`; below 1: more than half of the number of shards. */
  readonly replicas: number;
  /** Retention of streams that are made now, in messages. */
  readonly maxLogEntries: number;
  readonly compress: boolean;
  readonly wireFormat: "batch" | "v0.6";
  readonly log: Log;
  /** Ends the opening; what was opened is closed by its own `close`. */
  readonly signal: AbortSignal;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
}

/**
 * Waits for NATS for as long as it takes. Throws MarmotError where only an operator can help, and the signal's
 * reason when it aborts.
 */
export async function openChangeStreams(options: OpenOptions): Promise<ChangeStreams> {
  const { streamPrefix, subjectPrefix, compress } = options;
  const naming = { streamPrefix, subjectPrefix, compress };
  assertNaming(naming);
  const connection = await connect(options);
  try {
    const manager = await jetstreamManager(connection.nats, { checkAPI: false, timeout: REQUEST_TIMEOUT_MS });
    const setUp = async () => {
      connection.session.throwIfAborted();
      const hasMetadata = isAtLeast210(connection.nats.info?.version ?? "");
      return await setUpStreams(manager, { ...options, naming, hasMetadata });
    };
    const retry = { ...options, event: "cannot set up the streams, trying again" };
    const streams = await retryUntilDone(setUp, retry);
    return new JetStreamChangeStreams({ connection, manager, naming, streams, setUpAgain: setUp });
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** Whether a server's version is 2.10 or later. */
function isAtLeast210(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 2 || (major === 2 && minor >= 10);
}
