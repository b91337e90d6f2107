/** What the broker alone can do, and what stands in it: the limits of what goes through it. */
import { jetstreamManager } from "@nats-io/jetstream";
import { silentLog } from "../../src/observability/log.ts";
import { connect } from "../../src/stream/connection.ts";
import type { JetStreamChangeStreams } from "../../src/stream/jetstream_change_streams.ts";
import { streamName } from "../../src/stream/names.ts";
import { openChangeStreams } from "../../src/stream/open_change_streams.ts";

const NAMING = { streamPrefix: "marmot-changes", subjectPrefix: "marmot-change-log", compress: false };
const OBSERVER = 1_000_000n;
const MAX_LOG_ENTRIES = 4_000_000;

export interface StreamsOptions {
  readonly url: string;
  readonly shards: number;
  readonly compress?: boolean;
}

/** The nodes' streams, made if they are not there, as somebody sees them who is no node. */
export function openStreams(
  { url, shards, compress = false }: StreamsOptions,
): Promise<JetStreamChangeStreams> {
  return openChangeStreams({
    ...NAMING,
    compress,
    urls: [url],
    nodeId: OBSERVER,
    shards,
    replicas: 1,
    maxLogEntries: MAX_LOG_ENTRIES,
    wireFormat: "batch",
    log: silentLog,
    signal: new AbortController().signal,
    random: Math.random,
  });
}

/** Publishes one message after the other and tells how long each takes to be delivered on another connection. */
export async function measureRounds(
  url: string,
  { samples, warmUp, pauseMs, bytes }: { samples: number; warmUp: number; pauseMs: number; bytes: number },
): Promise<number[]> {
  const [sender, reader] = await Promise.all([
    openStreams({ url, shards: 1 }),
    openStreams({ url, shards: 1 }),
  ]);
  const { signal } = new AbortController();
  const { lastSequence } = await reader.describe(1);
  const messages = reader.read(1, lastSequence + 1, signal)[Symbol.asyncIterator]();
  try {
    const samplesMs: number[] = [];
    for (let i = 0; i < warmUp + samples; i++) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs * (0.7 + 0.6 * Math.random())));
      const payload = new Uint8Array(bytes);
      const sentAt = performance.now();
      const published = sender.publish({ shard: 1, table: "round", format: null, payload });
      await messages.next();
      if (i >= warmUp) samplesMs.push(performance.now() - sentAt);
      await published;
    }
    return samplesMs;
  } finally {
    await messages.return?.(undefined);
    await Promise.all([sender.close(), reader.close()]);
  }
}

/** Reads all that stands in the streams, as a node does that is behind, and does nothing with it. */
export async function consumeAll(options: StreamsOptions): Promise<{ seconds: number; bytes: number }> {
  const streams = await openStreams(options);
  try {
    const ends = await Promise.all(
      Array.from({ length: options.shards }, (_, i) => streams.describe(i + 1)),
    );
    const startedAt = performance.now();
    const sizes = await Promise.all(ends.map(({ lastSequence }, i) => consume(streams, i + 1, lastSequence)));
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    return { seconds: (performance.now() - startedAt) / 1000, bytes };
  } finally {
    await streams.close();
  }
}

async function consume(streams: JetStreamChangeStreams, shard: number, last: number): Promise<number> {
  let bytes = 0;
  if (last === 0) return bytes;
  for await (const { sequence, payload } of streams.read(shard, 1, new AbortController().signal)) {
    bytes += payload.length;
    if (sequence >= last) break;
  }
  return bytes;
}

/** Resolves when a first message stands in one of the streams. */
export async function waitForMessage(streams: JetStreamChangeStreams): Promise<void> {
  const end = new AbortController();
  const shards = Array.from({ length: streams.shards }, (_, i) => i + 1);
  await Promise.race(shards.map(async (shard) => {
    for await (const _ of streams.read(shard, 1, end.signal)) break;
  }));
  end.abort();
}

/** Messages and bytes that the streams hold on disk, as the server counts them. */
export async function readStored(
  { url, shards, compress = false }: StreamsOptions,
): Promise<{ messages: number; bytes: number }> {
  const signal = new AbortController().signal;
  const connection = await connect({
    urls: [url],
    nodeId: OBSERVER,
    log: silentLog,
    signal,
    random: Math.random,
  });
  try {
    const manager = await jetstreamManager(connection.nats, { checkAPI: false });
    let [messages, bytes] = [0, 0];
    for (let shard = 1; shard <= shards; shard++) {
      const { state } = await manager.streams.info(streamName({ ...NAMING, compress }, shard));
      messages += state.messages;
      bytes += state.bytes;
    }
    return { messages, bytes };
  } finally {
    await connection.close();
  }
}
