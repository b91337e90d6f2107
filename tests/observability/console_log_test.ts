import assert from "node:assert/strict";
import { createLog } from "../../src/observability/console_log.ts";

function createCapturedLog(verbose: boolean) {
  const lines: string[] = [];
  return { lines, log: createLog({ verbose, write: (line) => lines.push(line) }) };
}

function withoutTime(line: string | undefined): string {
  return line?.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /, "") ?? "";
}

Deno.test("a line holds the time in UTC, the level, the event and its fields", () => {
  const { lines, log } = createCapturedLog(false);
  const before = Date.now();
  log.info("node started", { node: 2n ** 64n - 1n, shards: 8, compress: false, missing: undefined });
  const [line = ""] = lines;
  const time = Date.parse(line.slice(0, 24));
  assert.ok(line[23] === "Z" && time >= before && time <= Date.now(), line);
  assert.equal(withoutTime(line), "INFO  node started node=18446744073709551615 shards=8 compress=false\n");
});

Deno.test("levels are told apart, and debug lines come with verbose only", () => {
  for (const verbose of [false, true]) {
    const { lines, log } = createCapturedLog(verbose);
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
    const expected = ["INFO  b\n", "WARN  c\n", "ERROR d\n"];
    assert.deepEqual(lines.map(withoutTime), verbose ? ["DEBUG a\n", ...expected] : expected);
  }
});

Deno.test("values that could be mistaken for the rest of the line are quoted", () => {
  const { lines, log } = createCapturedLog(false);
  log.warn("table parked", {
    a: "",
    b: "x y",
    c: 'say "hi"',
    d: "a=b",
    e: "é",
    f: "back\\slash",
    g: "t.u-v/1",
  });
  assert.equal(
    withoutTime(lines[0]),
    'WARN  table parked a="" b="x y" c="say \\"hi\\"" d="a=b" e=é f="back\\\\slash" g=t.u-v/1\n',
  );
});

Deno.test("nothing in an event or a field can begin a line or move the cursor", () => {
  const { lines, log } = createCapturedLog(false);
  log.error("odd\n{name}", { name: "a\nb\u001b[2J\u0085\u2028" });
  assert.equal(withoutTime(lines[0]), 'ERROR odd\\u000a{name} name="a\\nb\\u001b[2J\\u0085\\u2028"\n');
});

Deno.test("several logs in one process do not mix", () => {
  const [first, second] = [createCapturedLog(false), createCapturedLog(true)];
  first.log.info("one");
  second.log.debug("two");
  assert.deepEqual(first.lines.map(withoutTime), ["INFO  one\n"]);
  assert.deepEqual(second.lines.map(withoutTime), ["DEBUG two\n"]);
});

Deno.test("lines written right before the process ends are not lost", async () => {
  const program = `
    import { createLog } from ${
    JSON.stringify(import.meta.resolve("../../src/observability/console_log.ts"))
  };
    const log = createLog({ verbose: false });
    for (let line = 1; line <= 5000; line++) log.info("line", { line });
    Deno.exit(3);
  `;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: ["eval", program] }).output();
  const lines = new TextDecoder().decode(stderr).split("\n").filter((line) => line.includes("INFO"));
  assert.deepEqual([code, lines.length], [3, 5000]);
  assert.ok(lines.at(-1)?.endsWith("INFO  line line=5000"));
});
