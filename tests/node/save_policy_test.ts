import assert from "node:assert/strict";
import { decideOnSave, roomBeforeTrim, type SaveSituation } from "../../src/node/snapshot/save_policy.ts";

const shard = { lastSequence: 1000, maxMessages: 1024, covered: 1000 };
const calm: SaveSituation = {
  hasSnapshot: true,
  isOfStreams: true,
  isWaitedFor: false,
  sinceSavedMs: 3_600_000,
  lastSaveTookMs: 100,
  shards: [shard, shard],
  everyMessages: 128,
};

Deno.test("when a snapshot is due", () => {
  const behind = { ...shard, covered: 1000 - 512 };
  const cases: [Partial<SaveSituation>, ReturnType<typeof decideOnSave>][] = [
    [{}, undefined],
    [{ hasSnapshot: false, sinceSavedMs: 0 }, "there is none"],
    [{ isWaitedFor: true, sinceSavedMs: 0, lastSaveTookMs: 9_000 }, "publishing waits for it"],
    // The streams were made anew, or another cluster saves to the same store.
    [{ isOfStreams: false }, "there is none of these streams"],
    [{ isOfStreams: false, sinceSavedMs: 59_999 }, undefined],
    // Half way to trimming, on any shard.
    [{ shards: [shard, behind] }, "a stream is half way to trimming"],
    [{ shards: [shard, { ...behind, covered: behind.covered + 1 }] }, undefined],
    [{ shards: [shard, behind], sinceSavedMs: 4_999 }, undefined],
    [{ shards: [shard, behind], sinceSavedMs: 5_000 }, "a stream is half way to trimming"],
    // A save that takes long is not begun again at once.
    [{ shards: [shard, behind], sinceSavedMs: 49_999, lastSaveTookMs: 10_000 }, undefined],
    [
      { shards: [shard, behind], sinceSavedMs: 50_000, lastSaveTookMs: 10_000 },
      "a stream is half way to trimming",
    ],
    [{ shards: [{ ...behind, maxMessages: Infinity }, shard], sinceSavedMs: 6_000 }, undefined],
    // Shard 1 passes a multiple of max-log-entries / shards.
    [{ shards: [{ ...shard, covered: 895 }, shard] }, "shard 1 has gone on"],
    [{ shards: [{ ...shard, covered: 896 }, shard] }, undefined],
    [{ shards: [{ ...shard, covered: 895 }, shard], sinceSavedMs: 59_999 }, undefined],
    [{ shards: [shard, { ...shard, covered: 895 }] }, undefined],
    [{ shards: [{ ...shard, covered: 999 }, shard], everyMessages: 0.5 }, "shard 1 has gone on"],
  ];
  for (const [change, expected] of cases) {
    assert.equal(decideOnSave({ ...calm, ...change }), expected, JSON.stringify(change));
  }
});

Deno.test("room before a stream drops what no snapshot covers", () => {
  assert.equal(roomBeforeTrim(shard), 1024);
  assert.equal(roomBeforeTrim({ ...shard, covered: 0 }), 24);
  assert.equal(roomBeforeTrim({ ...shard, maxMessages: Infinity }), Infinity);
});
