/** The README's table of options, made from the option table and aligned as `deno fmt` aligns tables. */

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
  const table = [["Flag", "Value", "Default", "What it does"], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  const lines = table.map((row) => line(row.map((cell, column) => cell.padEnd(widths[column] ?? 0))));
  lines.splice(1, 0, line(widths.map((width) => "-".repeat(width))));
  return lines.join("\n");
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
