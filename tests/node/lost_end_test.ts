/** Where a node goes back to in a stream that has lost its end: every case as a row of a table. */
import assert from "node:assert/strict";
import type { Replica } from "../../src/db/replica.ts";
import type { StreamPosition } from "../../src/db/state/stream_positions.ts";
import { goBack } from "../../src/node/lost_end.ts";
import { silentLog } from "../../src/observability/log.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import type { ChangeStreams } from "../../src/stream/change_streams.ts";

interface Case {
  readonly name: string;
  /** Sequences of the own messages that this node has kept; what was stored as n carried the time "n". */
  readonly echoes: readonly number[];
  /** What the stream holds now: when each message was stored, from its first sequence on. */
  readonly first: number;
  readonly storedAt: readonly string[];
  readonly isMadeAnew?: boolean;
  /** Whether the stream's first message was read here. */
  readonly hasReadFirst?: boolean;
  readonly expected: { readonly cursor: number; readonly agreed: number };
}

const CASES: readonly Case[] = [
  {
    name: "it ends earlier",
    echoes: [1, 3, 5, 6],
    first: 1,
    storedAt: ["1", "2", "3", "4"],
    expected: { cursor: 3, agreed: 3 },
  },
  {
    name: "others wrote over what it lost",
    echoes: [2, 4, 5],
    first: 1,
    storedAt: ["1", "2", "3", "new", "new", "new"],
    expected: { cursor: 2, agreed: 2 },
  },
  {
    name: "nothing of ours was lost",
    echoes: [1, 2],
    first: 1,
    storedAt: ["1", "2", "3"],
    expected: { cursor: 2, agreed: 2 },
  },
  {
    name: "all of ours was lost",
    echoes: [2, 3],
    first: 1,
    storedAt: ["1"],
    expected: { cursor: 0, agreed: 0 },
  },
  {
    name: "this node has written nothing",
    echoes: [],
    first: 1,
    storedAt: ["1"],
    expected: { cursor: 0, agreed: 0 },
  },
  {
    name: "made anew, with equal times",
    echoes: [1, 2],
    first: 1,
    storedAt: ["1", "2"],
    isMadeAnew: true,
    expected: { cursor: 0, agreed: 0 },
  },
  {
    name: "our messages were trimmed, the first that is left was read",
    echoes: [2],
    first: 4,
    storedAt: ["4", "5"],
    hasReadFirst: true,
    expected: { cursor: 4, agreed: 0 },
  },
  {
    name: "our messages were trimmed, the first that is left is new",
    echoes: [2],
    first: 4,
    storedAt: ["new", "new"],
    hasReadFirst: false,
    expected: { cursor: 0, agreed: 0 },
  },
  {
    name: "it is empty",
    echoes: [2],
    first: 3,
    storedAt: [],
    expected: { cursor: 0, agreed: 0 },
  },
];

for (const { name, echoes, first, storedAt, isMadeAnew, hasReadFirst, expected } of CASES) {
  Deno.test(`a stream that lost its end: ${name}`, async () => {
    const streams = {
      describe: () =>
        Promise.resolve({
          name: "s",
          createdAt: isMadeAnew ? "now" : "then",
          firstSequence: first,
          lastSequence: first - 1 + storedAt.length,
          maxMessages: Infinity,
        }),
      messageAt: (_shard: number, sequence: number) => {
        const at = storedAt[sequence - first];
        return Promise.resolve(at === undefined ? undefined : { sequence, storedAt: at });
      },
    } as unknown as ChangeStreams;
    const went: { cursor: number; storedAt: string; agreed: number }[] = [];
    const replica = {
      positions: { get: () => ({ name: "s", createdAt: "then", cursor: 9, storedAt: "9" }) },
      recovery: {
        retainedEchoes: () => echoes.map((sequence) => ({ stream: "s", sequence, storedAt: `${sequence}` })),
        hasRead: () => hasReadFirst,
        goBack: ({ cursor, storedAt }: StreamPosition, agreed: number) =>
          went.push({ cursor, storedAt, agreed }),
      },
    } as unknown as Replica;
    const { signal } = new AbortController();
    await goBack(1, { replica, streams, clock: systemClock, random: Math.random, log: silentLog, signal });
    const identity = expected.cursor === 0 ? "" : `${expected.cursor}`;
    assert.deepEqual(went, [{ ...expected, storedAt: identity }]);
  });
}
