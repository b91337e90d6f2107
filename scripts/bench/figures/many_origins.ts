/**
 * What a message of one row costs whoever reads it: the messages of 50 nodes that commit one row each, now and then, so
 * that nothing gathers at its origin. From this figure follows what a large cluster can do.
 */
import { BATCH_FORMAT, encodeBody, encodeEnvelope } from "../../../src/wire/batch_codec.ts";
import { shardOfTable } from "../../../src/wire/routing.ts";
import { DEFAULT_SHARDS, waitForRow } from "../bench_world.ts";
import { consumeAll, openStreams } from "../broker.ts";
import type { Measurement } from "../figure.ts";
import { cpuSeconds } from "../process_usage.ts";
import { shapeOf } from "../workload.ts";

const SHAPE = "narrow";
const ORIGINS = 50;
const FIRST_ORIGIN = 1000;
/** Messages on their way at a time. */
const IN_FLIGHT = 200;

export const manyOrigins: Measurement = {
  name: "many-origins",
  title: `a node that reads one-row messages of ${ORIGINS} origins`,
  limit: "reading the same messages and doing nothing with them",
  figures: [
    { name: "applied", unit: "messages/s" },
    { name: "processor time", unit: "µs/message" },
    { name: "the broker's, to store", unit: "µs/message" },
    { name: "the broker's, to deliver once", unit: "µs/message" },
    { name: "size", unit: "bytes/message" },
  ],
  measure: async (world, { isQuick }) => {
    const messages = isQuick ? 5000 : 50_000;
    const path = world.makeDatabase(SHAPE);
    const { url, pid } = await world.server;
    const [idleAt, stored] = [cpuSeconds(pid), await publishAll({ url, messages })];
    const storedAt = cpuSeconds(pid);
    const { seconds: reading } = await consumeAll({ url, shards: DEFAULT_SHARDS });
    const deliveredAt = cpuSeconds(pid);
    const node = await world.startNode(path, { nodeId: 1 });
    const [startedAt, cpuBefore] = [performance.now(), cpuSeconds(node.pid)];
    await waitForRow([path], { shape: SHAPE, id: messages, nodes: [node] });
    const seconds = (performance.now() - startedAt) / 1000;
    const cpu = cpuSeconds(node.pid);
    await node.stop();
    return {
      "applied": { value: messages / seconds, limit: messages / reading },
      "processor time": { value: each(cpuBefore, cpu, messages) },
      "the broker's, to store": { value: each(idleAt, storedAt, messages) },
      "the broker's, to deliver once": { value: each(storedAt, deliveredAt, messages) },
      "size": { value: stored / messages },
    };
  },
};

/** Microseconds of a message, of what a process took between two moments. */
function each(from: number | undefined, to: number | undefined, messages: number): number | undefined {
  return from === undefined || to === undefined ? undefined : (to - from) / messages * 1e6;
}

/** Publishes rows 1 to `messages`, a message each, the origins in turns. Returns their bytes. */
async function publishAll({ url, messages }: { url: string; messages: number }): Promise<number> {
  const streams = await openStreams({ url, shards: DEFAULT_SHARDS });
  try {
    const { table, row } = shapeOf(SHAPE);
    const shard = shardOfTable(table, DEFAULT_SHARDS);
    const run = Date.now();
    let bytes = 0;
    for (let from = 1; from <= messages; from += IN_FLIGHT) {
      const ids = Array.from({ length: Math.min(IN_FLIGHT, messages - from + 1) }, (_, i) => from + i);
      await Promise.all(ids.map((id) => {
        const [key, sensor, at, value] = row(id);
        const body = encodeBody({
          table,
          columns: ["id", "sensor", "at", "value"],
          key: [0],
          uniqueSignature: "",
          events: [{
            kind: "upsert",
            row: [BigInt(Number(key)), String(sensor), BigInt(Number(at)), Number(value)],
          }],
        });
        const head = {
          origin: BigInt(FIRST_ORIGIN + id % ORIGINS),
          run,
          number: id,
          top: id,
          part: 0,
          parts: 1,
        };
        const payload = encodeEnvelope(head, body);
        bytes += payload.length;
        return streams.publish({ shard, table, format: BATCH_FORMAT, payload });
      }));
    }
    return bytes;
  } finally {
    await streams.close();
  }
}
