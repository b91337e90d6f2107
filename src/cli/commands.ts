/**
 * THE table of commands: the command line, `marmot -help` and the README's table all come from here. The order is the
 * order in help.
 */

import { nearestName } from "../config/spelling.ts";
import type { Command } from "./command.ts";
import { conflictsCommand } from "./commands/conflicts.ts";
import { parkedCommand } from "./commands/parked.ts";
import { pauseCommand } from "./commands/pause.ts";
import { quarantineCommand } from "./commands/quarantine.ts";
import { resyncCommand } from "./commands/resync.ts";
import { snapshotCommand } from "./commands/snapshot.ts";
import { verifyCommand } from "./commands/verify.ts";

export const COMMANDS: readonly Command[] = [
  conflictsCommand,
  quarantineCommand,
  parkedCommand,
  pauseCommand,
  resyncCommand,
  snapshotCommand,
  verifyCommand,
];

export function findCommand(name: string): Command | undefined {
  return COMMANDS.find((command) => command.name === name);
}

/** What to do about a word that stands where a node takes flags only; undefined where there is nothing to say. */
export function explainWord(word: string): string | undefined {
  if (findCommand(word)) return `A command stands first, its flags behind it: marmot ${word} -db-path path.`;
  const meant = nearestName(word, COMMANDS.map((command) => command.name));
  return meant === null ? undefined : `The command is called ${meant}; marmot -help lists all commands.`;
}
