import assert from "node:assert/strict";
import { eventsJson, eventSummary, plainText, valueJson, valueText } from "../../src/cli/value_text.ts";
import { RawText, type Value } from "../../src/wire/value.ts";

const SHOWN: readonly [Value, string, unknown][] = [
  [null, "NULL", null],
  [1n, "1", { integer: "1" }],
  [9007199254740993n, "9007199254740993", { integer: "9007199254740993" }],
  [-9223372036854775808n, "-9223372036854775808", { integer: "-9223372036854775808" }],
  [1, "1.0", { real: "1.0" }],
  [-0, "-0.0", { real: "-0.0" }],
  [0.1, "0.1", { real: "0.1" }],
  [1e300, "1e+300", { real: "1e+300" }],
  [Infinity, "Infinity", { real: "Infinity" }],
  ["1", '"1"', { text: "1" }],
  ["it's\n\u001b[2J\u009b", '"it\'s\\n\\u001b[2J\\u009b"', { text: "it's\n\u001b[2J\u009b" }],
  [new Uint8Array([0, 255]), "x'00ff'", { blob: "00ff" }],
  [new RawText(new Uint8Array([255])), "text x'ff'", { "text-hex": "ff" }],
];

Deno.test("values are shown with their storage class, exact, and can't steer a terminal", () => {
  for (const [value, text, json] of SHOWN) {
    assert.equal(valueText(value), text);
    assert.deepEqual(JSON.parse(JSON.stringify(valueJson(value))), json);
  }
  assert.equal(plainText('a "b"\u001b[0m \u202e'), 'a "b"\\u001b[0m \\u202e');
});

Deno.test("long values are cut in text, with their size, and whole in JSON", () => {
  const text = "ä".repeat(1000);
  assert.equal(valueText(text), `"${"ä".repeat(60)}"… (1000 letters)`);
  assert.deepEqual(valueJson(text), { text });
  assert.equal(valueText(new Uint8Array(1000)), `x'${"00".repeat(16)}'… (1000 bytes)`);
});

Deno.test("an event is shown by its columns, the rowid under its name", () => {
  const body = { table: "t", columns: [null, "__proto__"], key: [0], uniqueSignature: "", events: [] };
  const row = [7n, "two  spaces"];
  assert.equal(eventSummary(body, { kind: "upsert", row }), 'rowid = 7, __proto__ = "two  spaces"');
  assert.equal(eventSummary(body, { kind: "delete", key: [7n] }), "deletion of rowid = 7");
  assert.equal(
    eventSummary(body, { kind: "list", key: [null], rows: [row] }),
    'all 1 rows of rowid = NULL: row rowid = 7, __proto__ = "two  spaces"',
  );
  const events = [{ kind: "upsert", row } as const, { kind: "delete", key: [7n] } as const];
  assert.equal(
    JSON.stringify(eventsJson({ ...body, events })),
    '[{"kind":"upsert","rows":[{"rowid":{"integer":"7"},"__proto__":{"text":"two  spaces"}}]},' +
      '{"kind":"delete","key":{"rowid":{"integer":"7"}}}]',
  );
});
