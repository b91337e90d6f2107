/**
 * The settings that streams are made with. What the original v0.6 asks for is a compatibility constant: nodes of
 * both kinds may make the streams of one cluster.
 */
import { shardSubject, streamName, type StreamNaming, tableSubjects } from "./names.ts";

/**
 * The key of the stream metadata that holds the number of shards, on disk at the broker: it must never change.
 * Servers before 2.10 keep no metadata.
 */
export const SHARDS_METADATA = "marmot-shards";

export interface StreamSettings {
  readonly naming: StreamNaming;
  readonly shards: number;
  /** `log-replicas`; below 1: more than half of the number of shards. */
  readonly replicas: number;
  /** Retention in messages. */
  readonly maxLogEntries: number;
}

/** A stream as it is asked for. Source: nats-io/nats-server, server/stream.go, StreamConfig. */
export interface RequestedStream {
  readonly name: string;
  readonly subjects: string[];
  readonly retention: "limits";
  readonly max_consumers: number;
  readonly max_msgs: number;
  readonly max_bytes: number;
  readonly discard: "old";
  readonly max_age: number;
  readonly max_msgs_per_subject: number;
  readonly storage: "file";
  readonly num_replicas: number;
  readonly deny_delete: boolean;
  readonly allow_direct: boolean;
  readonly mirror_direct: boolean;
  readonly metadata?: Record<string, string>;
}

/** Exactly what the original v0.6 asks for. */
export function streamConfigV06(settings: StreamSettings, shard: number): RequestedStream {
  return {
    name: streamName(settings.naming, shard),
    subjects: [shardSubject(settings.naming, shard)],
    retention: "limits",
    max_consumers: -1,
    max_msgs: settings.maxLogEntries,
    max_bytes: 0,
    discard: "old",
    max_age: 0,
    max_msgs_per_subject: -1,
    storage: "file",
    num_replicas: replicaCount(settings),
    deny_delete: true,
    allow_direct: true,
    mirror_direct: false,
  };
}

/** For Marmot's own format: the same, with the subjects of tables and the number of shards. */
export function streamConfig(
  settings: StreamSettings & { readonly hasMetadata: boolean },
  shard: number,
): RequestedStream {
  const original = streamConfigV06(settings, shard);
  return {
    ...original,
    subjects: [...original.subjects, tableSubjects(settings.naming, shard)],
    ...(settings.hasMetadata ? { metadata: { [SHARDS_METADATA]: String(settings.shards) } } : {}),
  };
}

/** The original's rule; a JetStream stream has at most five replicas. */
function replicaCount({ replicas, shards }: StreamSettings): number {
  return Math.min(5, replicas < 1 ? Math.floor(shards / 2) + 1 : replicas);
}
