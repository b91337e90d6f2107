import assert from "node:assert/strict";
import { NodeSource } from "../../src/node/verify/node_source.ts";
import type { NoAnswer } from "../../src/stream/node_questions.ts";

/** A node that says nothing to the first questions, then where it stands. */
function makeSource(silent: number): { source: NodeSource; asked: string[] } {
  const asked: string[] = [];
  const answer = new TextEncoder().encode(JSON.stringify({ state: "done", value: [["s", 7]] }));
  const ask = (_node: bigint, question: Uint8Array): Promise<Uint8Array | NoAnswer> => {
    asked.push(new TextDecoder().decode(question));
    return Promise.resolve(asked.length > silent ? answer : "timeout");
  };
  const stop = new AbortController().signal;
  return { source: new NodeSource({ nodeId: 1n, session: "x", questions: { ask }, stop }), asked };
}

Deno.test("a node that is busy when it is to hold is asked once more, with the same question", async () => {
  const { source, asked } = makeSource(1);
  assert.deepEqual(await source.hold(), [["s", 7]]);
  assert.equal(asked.length, 2);
  assert.equal(asked[0], asked[1]);
});

Deno.test("a node that is silent for longer than the others stand still is left out, and named", async () => {
  const { source } = makeSource(2);
  await assert.rejects(source.hold(), { message: "it has not answered for 2 s" });
});
