import assert from "node:assert/strict";
import { percentile, spreadOf } from "../../scripts/bench/spread.ts";

Deno.test("the percentile is the figure that so many per cent do not exceed", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  assert.equal(percentile(hundred, 50), 50);
  assert.equal(percentile(hundred, 99), 99);
  assert.equal(percentile(hundred, 100), 100);
  assert.equal(percentile([7], 99), 7);
});

Deno.test("the spread of repetitions is their median, lowest and highest", () => {
  assert.deepEqual(spreadOf([3, 100, 1]), { median: 3, min: 1, max: 100 });
});
