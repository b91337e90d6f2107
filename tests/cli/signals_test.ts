import assert from "node:assert/strict";

const PROGRAM = `
  import { abortOnSignals } from ${JSON.stringify(import.meta.resolve("../../src/cli/signals.ts"))};
  const stop = abortOnSignals((exitCode) => Deno.exit(exitCode));
  stop.addEventListener("abort", () => console.log(stop.reason.name + ": " + stop.reason.message));
  setInterval(() => {}, 1000);
  console.log("ready");
`;

Deno.test({
  name: "the first signal aborts with its name, the second ends the process with 128 and its number",
  ignore: Deno.build.os === "windows",
  async fn() {
    for (
      const [first, second, exitCode] of [["SIGTERM", "SIGINT", 130], ["SIGINT", "SIGTERM", 143]] as const
    ) {
      const child = new Deno.Command(Deno.execPath(), { args: ["eval", PROGRAM], stdout: "piped" }).spawn();
      const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      assert.equal((await output.read()).value, "ready\n");
      child.kill(first);
      assert.equal((await output.read()).value, `AbortError: stopped by ${first}\n`);
      child.kill(second);
      assert.equal((await child.status).code, exitCode);
      await output.cancel();
    }
  },
});

Deno.test({
  name: "the same signal again within half a second, as one Ctrl+C gives, is not a second one",
  ignore: Deno.build.os === "windows",
  async fn() {
    const child = new Deno.Command(Deno.execPath(), { args: ["eval", PROGRAM], stdout: "piped" }).spawn();
    const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assert.equal((await output.read()).value, "ready\n");
    child.kill("SIGINT");
    assert.equal((await output.read()).value, "AbortError: stopped by SIGINT\n");
    child.kill("SIGINT");
    const early = await Promise.race([
      child.status,
      new Promise((resolve) => setTimeout(resolve, 600, "runs")),
    ]);
    assert.equal(early, "runs");
    child.kill("SIGINT");
    assert.equal((await child.status).code, 130);
    await output.cancel();
  },
});
