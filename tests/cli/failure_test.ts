import assert from "node:assert/strict";
import { describeFailure } from "../../src/cli/failure.ts";
import { MarmotError } from "../../src/errors.ts";

const CAUSE = new Error("ENOENT", { cause: "disk" });

Deno.test("a failure that Marmot raises is one sentence and its hint, without a stack", () => {
  const error = new MarmotError("database", "Cannot open /a.db: it is missing", {
    hint: "Create it.",
    cause: CAUSE,
  });
  assert.deepEqual(describeFailure(error, false), {
    text: "marmot: Cannot open /a.db: it is missing\nCreate it.\n",
    exitCode: 1,
  });
  assert.deepEqual(describeFailure(error, true), {
    text: "marmot: Cannot open /a.db: it is missing\nCreate it.\nCaused by: ENOENT\nCaused by: disk\n",
    exitCode: 1,
  });
});

Deno.test("wrong usage ends with 2", () => {
  const failure = describeFailure(new MarmotError("usage", "Cannot use -x: there is no such flag"), false);
  assert.deepEqual(failure, { text: "marmot: Cannot use -x: there is no such flag\n", exitCode: 2 });
});

Deno.test("anything else is said to be a defect, its stack only when verbose", () => {
  for (const error of [new TypeError("x is undefined"), new MarmotError("internal", "x is undefined")]) {
    const brief = describeFailure(error, false);
    assert.equal(brief.exitCode, 1);
    assert.match(
      brief.text,
      /^marmot: This is a defect in Marmot: x is undefined\nPlease report it; [^\n]*\n$/,
    );
    assert.match(describeFailure(error, true).text, /\n +at .*failure_test\.ts/);
  }
  assert.match(describeFailure("text", true).text, /^marmot: This is a defect in Marmot: text\n/);
});

Deno.test("causes that go round in a circle are told once", () => {
  const first = new MarmotError("broker", "first");
  const second = new Error("second", { cause: first });
  first.cause = second;
  assert.equal(describeFailure(first, true).text, "marmot: first\nCaused by: second\n");
});
