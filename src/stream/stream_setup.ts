/**
 * Makes the streams, or takes those that are there. A stream that exists keeps its settings: it may be the
 * original's, or tuned by an operator. The number of shards belongs to the streams, because two nodes that route
 * by different numbers tear a table's order apart; a node that was given another one does not start.
 */
import {
  JetStreamApiError,
  type JetStreamManager,
  type StreamConfig,
  type StreamInfo,
} from "@nats-io/jetstream";
import { MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { ApiCode, asOperatorError } from "./broker_errors.ts";
import { assertNaming, isCovered, shardOfStream, shardSubject, streamName, tableSubjects } from "./names.ts";
import { SHARDS_METADATA, streamConfig, streamConfigV06, type StreamSettings } from "./stream_config.ts";

export interface SetupOptions extends StreamSettings {
  readonly wireFormat: "batch" | "v0.6";
  /** Whether the server keeps stream metadata (2.10 and later). */
  readonly hasMetadata: boolean;
  readonly log: Log;
}

const MAX_PASSES = 10;

/**
 * The streams of all shards, shard 1 first, ready for use. Throws MarmotError for what only an operator can
 * change; any other error may pass by itself.
 */
export async function setUpStreams(manager: JetStreamManager, options: SetupOptions): Promise<StreamInfo[]> {
  assertNaming(options.naming);
  try {
    // Until a pass has nothing to do: other nodes may be at it too, and what they did is looked at like the rest.
    for (let pass = 1; pass <= MAX_PASSES; pass++) {
      const existing = await existingStreams(manager, options);
      assertShardCount(existing, options);
      const isReady = await prepareShards(manager, { existing, options });
      if (isReady) return Array.from({ length: options.shards }, (_, index) => existing.get(index + 1)!);
    }
  } catch (error) {
    throw asOperatorError(error) ?? error;
  }
  throw new Error("other nodes keep changing the streams");
}

/** Whether every stream was there and as it should be; false after a change. */
async function prepareShards(
  manager: JetStreamManager,
  { existing, options }: { existing: ReadonlyMap<number, StreamInfo>; options: SetupOptions },
): Promise<boolean> {
  let isReady = true;
  for (let shard = 1; shard <= options.shards; shard++) {
    const info = existing.get(shard);
    if (info === undefined) {
      isReady = false;
      if (!await createStream(manager, { shard, options })) break;
    } else if (await adoptStream(manager, { info, shard, options })) {
      isReady = false;
    }
  }
  return isReady;
}

async function existingStreams(
  manager: JetStreamManager,
  { naming }: SetupOptions,
): Promise<Map<number, StreamInfo>> {
  const streams = new Map<number, StreamInfo>();
  for await (const name of manager.streams.names()) {
    const shard = shardOfStream(naming, name);
    if (shard !== undefined) streams.set(shard, await manager.streams.info(name));
  }
  return streams;
}

/**
 * Throws where the streams were made for another number of shards: by what they have on record, else (made by the
 * original, or kept by a server without metadata) by their own number once they hold messages.
 */
function assertShardCount(existing: ReadonlyMap<number, StreamInfo>, { naming, shards }: SetupOptions): void {
  const recorded = new Set<string>();
  let hasMessages = false;
  for (const { config, state } of existing.values()) {
    const count = config.metadata?.[SHARDS_METADATA];
    if (count !== undefined) recorded.add(count);
    hasMessages ||= state.messages > 0;
  }
  const other = [...recorded].find((count) => count !== String(shards)) ??
    (recorded.size === 0 && hasMessages && existing.size !== shards ? String(existing.size) : undefined);
  if (other === undefined) return;
  const streams = streamName(naming, 0).slice(0, -1) + "*";
  throw new MarmotError(
    "usage",
    `Cannot use streams "${streams}" with shards = ${shards}: they were made with shards = ${other}`,
    { hint: `Start this node with -shards ${other}, or with another -stream-prefix and -subject-prefix.` },
  );
}

interface ShardSetup {
  readonly shard: number;
  readonly options: SetupOptions;
}

/** False where another node made the stream in this moment, with other settings. */
async function createStream(manager: JetStreamManager, { shard, options }: ShardSetup): Promise<boolean> {
  const config = options.wireFormat === "v0.6"
    ? streamConfigV06(options, shard)
    : streamConfig(options, shard);
  try {
    await manager.streams.add({ ...config } as Partial<StreamConfig> & { name: string });
    options.log.info("made stream", { stream: config.name, replicas: config.num_replicas });
    return true;
  } catch (error) {
    if (!(error instanceof JetStreamApiError)) throw error;
    switch (error.code) {
      case ApiCode.nameInUse:
        return false;
      case ApiCode.subjectsOverlap:
        throw await overlapError(manager, { name: config.name, subjects: config.subjects, cause: error });
      case ApiCode.noSuitablePeers:
      case ApiCode.replicasNotSupported:
        throw new MarmotError(
          "usage",
          `Cannot make stream "${config.name}" with ${config.num_replicas} replicas: there are fewer NATS servers`,
          { hint: "set log-replicas to at most the number of NATS servers with JetStream", cause: error },
        );
      default:
        throw error;
    }
  }
}

/**
 * Adds to a stream that exists what our format needs: the subjects of tables, the number of shards. False where
 * nothing was missing.
 */
async function adoptStream(
  manager: JetStreamManager,
  { info, shard, options }: ShardSetup & { readonly info: StreamInfo },
): Promise<boolean> {
  const { name, subjects, metadata } = info.config;
  const { naming, shards, wireFormat, hasMetadata, log } = options;
  const subject = shardSubject(naming, shard);
  if (!subjects.some((pattern) => isCovered(subject, pattern))) {
    throw new MarmotError(
      "usage",
      `Cannot use stream "${name}": it has the subjects ${subjects.join(", ")} and lacks "${subject}"`,
      { hint: "set subject-prefix as on the other nodes, or use another stream-prefix" },
    );
  }
  if (wireFormat === "v0.6") return false;
  const tables = tableSubjects(naming, shard);
  const lacksTables = !subjects.some((pattern) => isCovered(tables, pattern));
  const lacksCount = hasMetadata && metadata?.[SHARDS_METADATA] === undefined;
  if (!lacksTables && !lacksCount) return false;
  try {
    await manager.streams.update(name, {
      ...(lacksTables ? { subjects: [...subjects, tables] } : {}),
      ...(lacksCount ? { metadata: { ...metadata, [SHARDS_METADATA]: String(shards) } } : {}),
    });
    log.info("added table subjects and shard count to stream", { stream: name });
    return true;
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.code !== ApiCode.subjectsOverlap) throw error;
    throw await overlapError(manager, { name, subjects: [tables], cause: error });
  }
}

async function overlapError(
  manager: JetStreamManager,
  { name, subjects, cause }: { name: string; subjects: readonly string[]; cause: unknown },
): Promise<MarmotError> {
  let [taken, owner] = [subjects[0]!, "of another name"];
  for (const subject of subjects) {
    for await (const other of manager.streams.names(subject)) {
      if (other !== name) [taken, owner] = [subject, `"${other}"`];
    }
  }
  return new MarmotError(
    "usage",
    `Cannot use stream "${name}": its subject "${taken}" belongs to stream ${owner}`,
    {
      hint:
        "all nodes of a cluster need the same compress and stream-prefix; else use another subject-prefix",
      cause,
    },
  );
}
