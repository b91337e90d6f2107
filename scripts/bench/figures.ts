/** All measurements of the benchmark, in the order in which they run. */
import type { Measurement } from "./figure.ts";
import { bytes } from "./figures/bytes.ts";
import { captureCost } from "./figures/capture_cost.ts";
import { catchUp } from "./figures/catch_up.ts";
import { disturbance } from "./figures/disturbance.ts";
import { idle } from "./figures/idle.ts";
import { largeTransaction } from "./figures/large_transaction.ts";
import { latency } from "./figures/latency.ts";
import { manyOrigins } from "./figures/many_origins.ts";
import { starts } from "./figures/start.ts";
import { sustained } from "./figures/sustained.ts";
import { throughput } from "./figures/throughput.ts";

export const MEASUREMENTS: readonly Measurement[] = [
  ...captureCost,
  latency,
  ...throughput,
  ...sustained,
  catchUp,
  manyOrigins,
  ...starts,
  ...idle,
  largeTransaction,
  ...bytes,
  ...disturbance,
];
