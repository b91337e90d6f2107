import assert from "node:assert/strict";
import { parseFlagArgument, parseGoInteger } from "../../src/config/go_syntax.ts";

Deno.test("integers are read as Go's strconv reads them with base 0", () => {
  const cases: [string, bigint][] = [
    ["0", 0n],
    ["12", 12n],
    ["-12", -12n],
    ["+12", 12n],
    ["1_000", 1000n],
    ["010", 8n],
    ["0_7", 7n],
    ["0o17", 15n],
    ["0O17", 15n],
    ["0x1F", 31n],
    ["0X_1f", 31n],
    ["-0x10", -16n],
    ["0b101", 5n],
    ["0B_1_1", 3n],
    ["00", 0n],
    ["18446744073709551615", 2n ** 64n - 1n],
  ];
  for (const [text, expected] of cases) assert.equal(parseGoInteger(text), expected, text);
});

Deno.test("what Go takes for no integer is none", () => {
  const texts = [
    "",
    " 1",
    "1 ",
    "1.0",
    "1e3",
    "_1",
    "1_",
    "1__0",
    "08",
    "0x",
    "0x_",
    "0b2",
    "0o8",
    "--1",
    "1n",
    "٣",
  ];
  for (const text of texts) assert.equal(parseGoInteger(text), null, text);
});

Deno.test("one dash and two are the same, and the first = ends the name", () => {
  assert.deepEqual(parseFlagArgument("-a"), { name: "a", attachedValue: null });
  assert.deepEqual(parseFlagArgument("--a-b"), { name: "a-b", attachedValue: null });
  assert.deepEqual(parseFlagArgument("-a="), { name: "a", attachedValue: "" });
  assert.deepEqual(parseFlagArgument("--a=b=\nc"), { name: "a", attachedValue: "b=\nc" });
  for (const text of ["", "-", "--", "---a", "-=a", "--=a", "a", "a=b"]) {
    assert.equal(parseFlagArgument(text), null, text);
  }
});
