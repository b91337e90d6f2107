/**
 * What the broker promises of the streams, as far as a client is told. How often it syncs to disk is not among that:
 * `sync_interval` is the server's, and only its monitoring port and its system account tell it.
 */
import { type JetStreamManager, jetstreamManager, type StreamInfo } from "@nats-io/jetstream";
import { type Connection, REQUEST_TIMEOUT_MS, untilAborted } from "./connection.ts";
import { streamName, type StreamNaming } from "./names.ts";

export interface StreamPromises {
  readonly name: string;
  /** How many servers hold a copy. */
  readonly replicas: number;
  readonly storage: "file" | "memory";
  /** Whether messages are acknowledged before they are written, which servers since 2.12 can be told to do. */
  readonly isAcknowledgedEarly: boolean;
  /** What happens when a limit is reached. */
  readonly whenFull: "drops the oldest" | "refuses new ones";
  /** Limits; Infinity where there is none. */
  readonly maxMessages: number;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
  /** What is there now. */
  readonly messages: number;
  readonly bytes: number;
  /** Lowest sequence still there; lastSequence + 1 in an empty stream. */
  readonly firstSequence: number;
  readonly lastSequence: number;
}

export interface PromisesOptions {
  readonly connection: Connection;
  readonly naming: StreamNaming;
  readonly shards: number;
}

/** Asks for the streams of all shards, shard 1 first. Throws when the broker does not answer. */
export async function askForPromises(
  { connection, naming, shards }: PromisesOptions,
): Promise<StreamPromises[]> {
  const { session } = connection;
  session.throwIfAborted();
  const ask = async () => {
    const manager = await jetstreamManager(connection.nats, { checkAPI: false, timeout: REQUEST_TIMEOUT_MS });
    const all: StreamPromises[] = [];
    for (let shard = 1; shard <= shards && !session.aborted; shard++) {
      all.push(await askForStream(manager, streamName(naming, shard)));
    }
    return all;
  };
  return await untilAborted(ask(), session);
}

async function askForStream(manager: JetStreamManager, name: string): Promise<StreamPromises> {
  return readPromises(await manager.streams.info(name));
}

/** Source: nats-io/nats-server, server/stream.go, StreamConfig: limits of 0 and -1 mean none. */
export function readPromises({ config, state }: Pick<StreamInfo, "config" | "state">): StreamPromises {
  const limit = (value: number) => value > 0 ? value : Infinity;
  return {
    name: config.name,
    replicas: config.num_replicas,
    storage: config.storage === "memory" ? "memory" : "file",
    isAcknowledgedEarly: config.persist_mode === "async",
    whenFull: config.discard === "new" ? "refuses new ones" : "drops the oldest",
    maxMessages: limit(config.max_msgs),
    maxBytes: limit(config.max_bytes),
    maxAgeMs: limit(config.max_age / 1e6),
    messages: state.messages,
    bytes: state.bytes,
    firstSequence: state.messages === 0 ? state.last_seq + 1 : state.first_seq,
    lastSequence: state.last_seq,
  };
}
