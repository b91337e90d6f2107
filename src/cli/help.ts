/** The texts of `marmot -help` and `marmot <command> -help`, made from the tables of options and of commands. */

import type { Option } from "../config/option.ts";
import { OPTIONS } from "../config/options.ts";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";

const WIDTH = 100;
const INDENT = " ".repeat(8);

/** Help for all flags and commands, ended by a line break. */
export function helpText(): string {
  const options = Object.values<Option<unknown>>(OPTIONS);
  return [
    "Marmot replicates a SQLite database over NATS JetStream: any node may write, all become equal.",
    "",
    "Usage: marmot [flags]            runs a node",
    "       marmot command [flags]    looks after one, while it runs or not",
    "",
    "Commands:",
    ...COMMANDS.flatMap((command) => [`  ${command.name}`, ...wrap(command.text)]),
    "",
    "marmot command -help explains a command.",
    "",
    "Flags of a node:",
    ...options.flatMap(describeOption),
    "",
    "A switch is on when it is named; turn it off with -switch=false. -flag value, -flag=value and --flag=value",
    "are the same. Exit codes: 0 done or stopped by a signal, 1 failed, 2 wrong usage; a second signal ends at",
    "once with 128 and the signal's number.",
    "",
  ].join("\n");
}

/** Help for one command, ended by a line break. */
export function commandHelpText(command: Command): string {
  return [
    command.text,
    "",
    ...command.forms.flatMap((form) => [
      `  marmot ${command.name}${form.words === "" ? "" : ` ${form.words}`} [flags]`,
      ...wrap(form.text),
    ]),
    "",
    "Flags:",
    ...Object.values(command.options).flatMap(describeOption),
    "",
  ].join("\n");
}

function describeOption(option: Option<unknown>): string[] {
  const isOff = option.valueName === null && option.defaultValue === false;
  const text = isOff ? option.text : `${option.text} (default ${option.defaultText})`;
  const value = option.valueName === null ? "" : ` ${option.valueName}`;
  return [`  -${option.flag}${value}`, ...wrap(text)];
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  let current = INDENT;
  for (const word of text.split(" ")) {
    if (current !== INDENT && current.length + 1 + word.length > WIDTH) {
      lines.push(current);
      current = INDENT;
    }
    current += current === INDENT ? word : ` ${word}`;
  }
  return [...lines, current];
}
