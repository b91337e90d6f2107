/** The demo as a person starts it, short: what the README promises with its first command. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const DEMO = fileURLToPath(new URL("../../scripts/demo.ts", import.meta.url));

Deno.test("the demo ends with three identical databases and says so", async () => {
  const demo = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", "--allow-all", DEMO, "--seconds", "2"],
    stdin: "null",
  });
  const { code, stdout, stderr } = await demo.output();
  const output = new TextDecoder().decode(stdout);
  assert.equal(code, 0, output + new TextDecoder().decode(stderr));
  assert.match(output, /\nall [\d,]+ flights that were inserted are on every node\n/);
  assert.match(output, /\nVERDICT: identical, byte for byte\n$/);
  const sums = [...output.matchAll(/content SHA-256 ([0-9a-f]{64})$/gm)].map(([, sum]) => sum);
  assert.deepEqual(sums, [sums[0], sums[0], sums[0]]);
});
