/** Whether a stream goes on where a node left it: every case as a row of a table. */
import assert from "node:assert/strict";
import {
  checkContinuity,
  type Continuity,
  judgeContinuity,
  type StreamEvidence,
} from "../../src/node/continuity.ts";
import type { ChangeStreams, StreamState } from "../../src/stream/change_streams.ts";

interface Case {
  readonly name: string;
  /** Cursor, and when the message at it was stored; none for a node that has read nothing. */
  readonly position: readonly [cursor: number, storedAt: string];
  /** When the stream was created as the node remembers it. */
  readonly createdAt?: string;
  /** First and last sequence that the stream has now. */
  readonly bounds: readonly [first: number, last: number];
  readonly storedAtCursor?: string;
  readonly hasNext?: boolean;
  readonly expected: Continuity;
}

const CASES: readonly Case[] = [
  {
    name: "a new node, a new stream",
    position: [0, ""],
    createdAt: "",
    bounds: [1, 0],
    expected: "continues",
  },
  {
    name: "a new node, all messages there",
    position: [0, ""],
    createdAt: "",
    bounds: [1, 9],
    expected: "continues",
  },
  {
    name: "a new node, the first messages gone",
    position: [0, ""],
    createdAt: "",
    bounds: [3, 9],
    hasNext: false,
    expected: "trimmed",
  },
  { name: "at the end", position: [9, "t9"], bounds: [1, 9], storedAtCursor: "t9", expected: "continues" },
  { name: "in the middle", position: [5, "t5"], bounds: [1, 9], storedAtCursor: "t5", expected: "continues" },
  {
    name: "the cursor's message trimmed, the next there",
    position: [5, "t5"],
    bounds: [6, 9],
    expected: "continues",
  },
  { name: "all trimmed, nothing missed", position: [9, "t9"], bounds: [10, 9], expected: "continues" },
  {
    name: "the next message trimmed",
    position: [5, "t5"],
    bounds: [7, 9],
    hasNext: false,
    expected: "trimmed",
  },
  {
    name: "all trimmed, some missed",
    position: [5, "t5"],
    bounds: [10, 9],
    hasNext: false,
    expected: "trimmed",
  },
  {
    name: "the next message deleted, others before and behind it there",
    position: [5, "t5"],
    bounds: [1, 9],
    storedAtCursor: "t5",
    hasNext: false,
    expected: "trimmed",
  },
  {
    name: "the stream ends before the cursor",
    position: [5, "t5"],
    bounds: [1, 4],
    expected: "rolled-back",
  },
  {
    name: "the stream is empty, and not by trimming",
    position: [5, "t5"],
    bounds: [1, 0],
    expected: "rolled-back",
  },
  {
    name: "another message at the cursor",
    position: [5, "t5"],
    bounds: [1, 9],
    storedAtCursor: "later",
    expected: "rolled-back",
  },
  {
    name: "another message at the cursor, and it is the last",
    position: [5, "t5"],
    bounds: [1, 5],
    storedAtCursor: "later",
    expected: "rolled-back",
  },
  {
    name: "positions of the original's seq map, which know no times",
    position: [5, ""],
    createdAt: "",
    bounds: [1, 9],
    storedAtCursor: "t5",
    expected: "continues",
  },
  {
    name: "another stream of that name, shorter",
    position: [5, "t5"],
    createdAt: "before",
    bounds: [1, 2],
    expected: "made-anew",
  },
  {
    name: "another stream of that name, longer",
    position: [5, "t5"],
    createdAt: "before",
    bounds: [1, 9],
    storedAtCursor: "t5",
    expected: "made-anew",
  },
];

for (const { name, position: [cursor, storedAt], createdAt = "now", bounds, expected, ...seen } of CASES) {
  Deno.test(`continuity: ${name}: ${expected}`, () => {
    const evidence: StreamEvidence = {
      position: { name: "s", createdAt, cursor, storedAt },
      state: stateOf(bounds),
      storedAtCursor: seen.storedAtCursor,
      hasNext: seen.hasNext ?? true,
    };
    assert.equal(judgeContinuity(evidence), expected);
  });
}

Deno.test("the broker is asked for the message at the cursor and the one behind it, and for no other", async () => {
  for (
    const [cursor, bounds, asked] of [
      [0, [1, 0], []],
      [0, [1, 3], [1]],
      [3, [1, 3], [3]],
      [2, [1, 3], [2, 3]],
    ] as const
  ) {
    const questions: number[] = [];
    const streams = {
      describe: () => Promise.resolve(stateOf(bounds)),
      messageAt: (_shard: number, sequence: number) => {
        questions.push(sequence);
        return Promise.resolve({ storedAt: `t${sequence}` });
      },
    } as unknown as ChangeStreams;
    const position = { name: "s", createdAt: "now", cursor, storedAt: cursor === 0 ? "" : `t${cursor}` };
    const { continuity } = await checkContinuity(streams, 1, () => position);
    assert.equal(continuity, "continues");
    assert.deepEqual(questions, asked);
  }
});

function stateOf([firstSequence, lastSequence]: readonly [number, number]): StreamState {
  return { name: "s", createdAt: "now", firstSequence, lastSequence, maxMessages: Infinity };
}
