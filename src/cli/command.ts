/**
 * What a command is: a name, the forms in which it can be written, its flags, and what it does. The commands are listed
 * in commands.ts; help, the README's table and the reading of the command line all come from there.
 */

import { type OptionTable, readArguments, type ValuesOf, withDefaults } from "../config/arguments.ts";
import { switchOption } from "../config/option.ts";
import { OPTIONS } from "../config/options.ts";
import { nearestName } from "../config/spelling.ts";
import { MarmotError } from "../errors.ts";
import type { Terminal } from "./terminal.ts";

/** Flags that every command takes. */
export const COMMON_OPTIONS = {
  dbPath: OPTIONS.dbPath,
  json: switchOption({
    flag: "json",
    defaultValue: false,
    text: "Print JSON instead of text.",
  }),
  verbose: switchOption({
    flag: "verbose",
    defaultValue: false,
    text: "Print the causes of a failure as well.",
  }),
  help: switchOption({
    flag: "help",
    defaultValue: false,
    text: "Explain this command, and end.",
  }),
};

export interface Call<T extends OptionTable> {
  /** What stands in place of the form's capital words, in their order. */
  readonly words: readonly string[];
  readonly options: ValuesOf<T & typeof COMMON_OPTIONS>;
  /** Names of the options that were given; the others have their defaults. */
  readonly given: ReadonlySet<string>;
  readonly terminal: Terminal;
  /** Aborts when a signal asks the process to end. */
  readonly stop: AbortSignal;
}

/** An exit code; none is EXIT_DONE. */
type Outcome = number | void;

/** One way to write a command. */
export interface Form<T extends OptionTable> {
  /** What follows the command's name: words as they are, and in capitals what the person puts there ("show ID"). */
  readonly words: string;
  /** What it does, one sentence. */
  readonly text: string;
  /** Returns an exit code where that is not EXIT_DONE. Throws MarmotError where it cannot be done. */
  run(call: Call<T>): Outcome | Promise<Outcome>;
}

export interface Command {
  readonly name: string;
  /** What it is for, one sentence. */
  readonly text: string;
  /** All its flags, those of every command included. */
  readonly options: OptionTable;
  readonly forms: readonly Form<OptionTable>[];
}

/** Makes a command; its forms get the values of `options` and of COMMON_OPTIONS with their types. */
export function defineCommand<T extends OptionTable>(
  { name, text, options, forms }: {
    name: string;
    text: string;
    options: T;
    forms: readonly Form<T>[];
  },
): Command {
  const { dbPath, ...common } = COMMON_OPTIONS;
  return { name, text, options: { dbPath, ...options, ...common }, forms };
}

/** What a command line with a command asks for. */
export type CommandInvocation =
  | { readonly action: "help" }
  | {
    readonly action: "run";
    readonly verbose: boolean;
    readonly run: (world: { terminal: Terminal; stop: AbortSignal }) => Outcome | Promise<Outcome>;
  };

/** Reads what follows the name of a command. Throws MarmotError "usage". */
export function parseCommand(command: Command, args: readonly string[]): CommandInvocation {
  const seeHelp = `marmot ${command.name} -help explains the command.`;
  const read = readArguments(args, { options: command.options, seeHelp, explainWord: null });
  const options = withDefaults(command.options, read.values);
  if (options["help"] === true) return { action: "help" };
  const form = command.forms.find((form) => isForm(form, read.words));
  if (!form) throw describeWrongWords(command, read.words, seeHelp);
  const places = wordsOf(form);
  const words = read.words.filter((_, i) => isPlace(places[i] ?? ""));
  const given = new Set(Object.keys(read.values));
  return {
    action: "run",
    verbose: options["verbose"] === true,
    run: (world) => form.run({ words, options: options as Call<OptionTable>["options"], given, ...world }),
  };
}

function isForm(form: Form<OptionTable>, words: readonly string[]): boolean {
  const wanted = wordsOf(form);
  return wanted.length === words.length && wanted.every((word, i) => isPlace(word) || word === words[i]);
}

function describeWrongWords(command: Command, words: readonly string[], hint: string): MarmotError {
  const begun = command.forms.map(wordsOf).find((form) => form.length > 0 && form[0] === words[0]);
  const missing = begun?.[words.length];
  if (begun && missing !== undefined) {
    const written = `marmot ${command.name} ${words.join(" ")}`;
    return new MarmotError("usage", `Cannot run ${written}: its ${missing} is missing`, { hint });
  }
  const wrong = (begun ? words[begun.length] : words[0]) ?? "";
  const firstWords = command.forms.flatMap((form) => wordsOf(form).slice(0, 1));
  const meant = begun ? null : nearestName(wrong, firstWords);
  return new MarmotError(
    "usage",
    `Cannot use ${JSON.stringify(wrong)}: marmot ${
      [command.name, ...begun ?? []].join(" ")
    } takes no such word` +
      (meant === null ? "" : `, did you mean ${meant}?`),
    { hint },
  );
}

function wordsOf(form: Form<OptionTable>): string[] {
  return form.words.split(" ").filter((word) => word !== "");
}

/** Whether the person puts something of their own there. */
function isPlace(word: string): boolean {
  return /^[A-Z]+$/.test(word);
}
