import assert from "node:assert/strict";
import { helpText } from "../../src/cli/help.ts";
import type { Option } from "../../src/config/option.ts";
import { OPTIONS } from "../../src/config/options.ts";

Deno.test("help lists every flag with its text and its default", () => {
  const unwrapped = helpText().replaceAll(/\n {8}/g, " ");
  for (const option of Object.values<Option<unknown>>(OPTIONS)) {
    const value = option.valueName === null ? "" : ` ${option.valueName}`;
    assert.ok(unwrapped.includes(`\n  -${option.flag}${value} ${option.text}`), option.flag);
    if (option.defaultValue !== false) {
      assert.ok(unwrapped.includes(`${option.text} (default ${option.defaultText})`), option.flag);
    }
  }
});

Deno.test("help fits a terminal of 110 columns", () => {
  for (const line of helpText().split("\n")) assert.ok(line.length <= 110, line);
});
