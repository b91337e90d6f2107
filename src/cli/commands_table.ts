/** The README's table of commands, made from the table of commands. */

import { markdownTable } from "../config/markdown_table.ts";
import { COMMON_OPTIONS } from "./command.ts";
import { COMMANDS } from "./commands.ts";

/** The table in Markdown, a row for each form of each command; flags that all commands take are left out. */
export function commandsTableMarkdown(): string {
  const common = Object.values(COMMON_OPTIONS).map((option) => option.flag);
  const rows = COMMANDS.flatMap((command) => {
    const own = Object.values(command.options).filter((option) => !common.includes(option.flag));
    return command.forms.map((form, i) => [
      `\`marmot ${[command.name, form.words].join(" ").trim()}\``,
      i > 0 ? "" : own.map((option) => `\`-${option.flag}\``).join(", "),
      form.text,
    ]);
  });
  return markdownTable(["Command", "Flags", "What it does"], rows);
}
