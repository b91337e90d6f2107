import assert from "node:assert/strict";
import { backoffDelayMs } from "../../src/runtime/backoff.ts";

Deno.test("the delay doubles with each failure up to its bound", () => {
  const most = { firstMs: 100, maxMs: 1_000, random: () => 1 };
  const delays = [1, 2, 3, 4, 5, 6, 10_000].map((failures) => backoffDelayMs(failures, most));
  assert.deepEqual(delays, [100, 200, 400, 800, 1_000, 1_000, 1_000]);
});

Deno.test("the jitter takes up to half of the delay away", () => {
  const least = { firstMs: 100, maxMs: 1_000, random: () => 0 };
  assert.deepEqual([1, 2, 20].map((failures) => backoffDelayMs(failures, least)), [50, 100, 500]);
});
