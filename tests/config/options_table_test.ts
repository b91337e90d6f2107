import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { OPTIONS } from "../../src/config/options.ts";
import { optionsTableMarkdown } from "../../src/config/options_table.ts";

Deno.test("the README's table of options is the option table", async () => {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const found = /<!-- options -->\s*([^]*?)\s*<!-- \/options -->/.exec(readme)?.[1];
  assert.equal(found, optionsTableMarkdown());
});

Deno.test("the table has a row for every option and no cell that breaks it", () => {
  const rows = optionsTableMarkdown().split("\n").slice(2);
  assert.equal(rows.length, Object.keys(OPTIONS).length);
  for (const row of rows) assert.equal(row.split("|").length, 6, row);
});

Deno.test("flags are unique and every text is a sentence", () => {
  const flags = Object.values(OPTIONS).map((option) => option.flag);
  assert.equal(new Set(flags).size, flags.length);
  for (const option of Object.values(OPTIONS)) assert.match(option.text, /^[A-Z][^]*\.$/, option.flag);
});
