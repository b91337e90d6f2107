/** How long after its commit on one node a row is in the database of another, the system being idle. */
import { PAUSE_MS, timeArrivals } from "../arrivals.ts";
import { measureRounds } from "../broker.ts";
import type { Figure, Measurement } from "../figure.ts";
import { percentile } from "../spread.ts";

const WARM_UP = 50;
/** About a message of one narrow row. */
const MESSAGE_BYTES = 100;
const PERCENTILES = [50, 99, 99.9];
const AT_MOST_MS = [1.5, 6, 15];

export const latency: Measurement = {
  name: "latency",
  title: "a commit on one node to its row in the other's database, idle, loopback",
  limit: "NATS publish to deliver",
  figures: PERCENTILES.map((percent, i): Figure => ({
    name: `p${percent}`,
    unit: "ms",
    target: { atMost: AT_MOST_MS[i] ?? Infinity },
  })),
  measure: async (world, { isQuick }) => {
    const samples = isQuick ? 200 : 2000;
    const { url } = await world.server;
    const rounds = await measureRounds(url, {
      samples,
      warmUp: WARM_UP,
      pauseMs: PAUSE_MS,
      bytes: MESSAGE_BYTES,
    });
    await world.forgetStreams();
    const samplesMs = await timeArrivals(world, { shape: "narrow", samples });
    return Object.fromEntries(PERCENTILES.map((percent) => [`p${percent}`, {
      value: percentile(samplesMs, percent),
      limit: percentile(rounds, percent),
    }]));
  },
};
