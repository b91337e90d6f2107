import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { COMMANDS } from "../../src/cli/commands.ts";
import { commandsTableMarkdown } from "../../src/cli/commands_table.ts";

Deno.test("the README's table of commands is the table of commands", async () => {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const found = /<!-- commands -->\s*([^]*?)\s*<!-- \/commands -->/.exec(readme)?.[1];
  assert.equal(found, commandsTableMarkdown());
});

Deno.test("the table has a row for every form and no cell that breaks it", () => {
  const rows = commandsTableMarkdown().split("\n").slice(2);
  assert.equal(rows.length, COMMANDS.flatMap((command) => command.forms).length);
  for (const row of rows) assert.equal(row.split("|").length, 5, row);
});
