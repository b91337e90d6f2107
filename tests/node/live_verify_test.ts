import assert from "node:assert/strict";
import { chooseNodes, furthest } from "../../src/node/verify/live_verify.ts";
import { VERIFY_PROTOCOL } from "../../src/node/verify/verify_protocol.ts";

const hello = (node: string, changes = {}) => ({
  node,
  version: "1.2.3",
  protocol: VERIFY_PROTOCOL,
  process: `process of ${node}`,
  ...changes,
});

Deno.test("nodes of another protocol and ids that two processes use are left out, and named", () => {
  const { nodes, lost } = chooseNodes([
    hello("1"),
    hello("2", { protocol: VERIFY_PROTOCOL + 1, version: "9.9.9" }),
    hello("3"),
    hello("3", { process: "another" }),
    hello("4"),
    hello("4"),
  ]);
  assert.deepEqual(nodes.map(({ node }) => node), ["1", "4"]);
  assert.deepEqual(lost.map(({ name }) => name), ["node 2", "node 3"]);
  assert.match(lost[0]?.reason ?? "", /^it runs Marmot 9\.9\.9, /);
  assert.match(lost[1]?.reason ?? "", /^several processes /);
});

Deno.test("the common sequences are the highest that anyone has applied", () => {
  assert.deepEqual(furthest([[["a", 3], ["b", 7]], [["b", 8], ["c", 1]], [["a", 2]]]), [["a", 3], ["b", 8], [
    "c",
    1,
  ]]);
  assert.deepEqual(furthest([]), []);
});
