/** The README's table of options, made from the option table. */

import { markdownTable } from "./markdown_table.ts";
import type { Option } from "./option.ts";
import { OPTIONS } from "./options.ts";

/** The table in Markdown, without a line break at its end. */
export function optionsTableMarkdown(): string {
  const rows = Object.values<Option<unknown>>(OPTIONS).map((option) => [
    `\`-${option.flag}\``,
    option.valueName ?? "switch",
    `\`${option.defaultText}\``,
    option.text,
  ]);
  return markdownTable(["Flag", "Value", "Default", "What it does"], rows);
}
