/** Looks at streams without making them. */
import { JetStreamApiError, jetstreamManager } from "@nats-io/jetstream";
import { ApiCode } from "./broker_errors.ts";
import type { StreamState } from "./change_streams.ts";
import { type Connection, REQUEST_TIMEOUT_MS, untilAborted } from "./connection.ts";

export interface StreamAtRest extends StreamState {
  /** When the server stored the first message that is there; undefined in an empty stream. */
  readonly firstStoredAt: Date | undefined;
}

/** The streams of these names that exist, by name. Throws when the broker does not answer. */
export async function readStreamStates(
  connection: Connection,
  names: readonly string[],
): Promise<Map<string, StreamAtRest>> {
  const { session } = connection;
  session.throwIfAborted();
  const options = { checkAPI: false, timeout: REQUEST_TIMEOUT_MS };
  const manager = await untilAborted(jetstreamManager(connection.nats, options), session);
  const states = new Map<string, StreamAtRest>();
  for (const name of names) {
    try {
      const { created, state, config } = await untilAborted(manager.streams.info(name), session);
      states.set(name, {
        name,
        createdAt: created,
        firstSequence: state.messages === 0 ? state.last_seq + 1 : state.first_seq,
        lastSequence: state.last_seq,
        maxMessages: config.max_msgs > 0 ? config.max_msgs : Infinity,
        firstStoredAt: state.messages === 0 ? undefined : new Date(state.first_ts),
      });
    } catch (error) {
      if (!(error instanceof JetStreamApiError) || error.code !== ApiCode.streamNotFound) throw error;
    }
  }
  return states;
}
