/**
 * Reads arguments against a table of options, by the rules of Go's flag package: `-flag value`, `-flag=value`, `--flag`,
 * a switch takes its value after "=" only, the last of two equal flags counts. Words that are no flags may stand
 * anywhere, where the caller takes words.
 */

import { MarmotError } from "../errors.ts";
import { parseFlagArgument } from "./go_syntax.ts";
import { InvalidValueError, type Option } from "./option.ts";
import { nearestName } from "./spelling.ts";

/** Options by the names that their values are kept under. */
export type OptionTable = Readonly<Record<string, Option<unknown>>>;

/** The value of every option of a table. */
export type ValuesOf<T extends OptionTable> = {
  readonly [Name in keyof T]: T[Name] extends Option<infer V> ? V : never;
};

export interface ReadArguments<T extends OptionTable> {
  /** Only what was given; "help" ends the reading. */
  readonly values: Partial<ValuesOf<T>>;
  readonly words: readonly string[];
}

export interface ArgumentRules<T extends OptionTable> {
  readonly options: T;
  /** What a message sends the person to, such as "marmot -help lists all commands and flags." */
  readonly seeHelp: string;
  /** A hint for a word that stands where none is taken; null where words are taken. */
  readonly explainWord: ((word: string) => string | undefined) | null;
}

/** Reads the arguments. Throws MarmotError "usage". */
export function readArguments<T extends OptionTable>(
  args: readonly string[],
  rules: ArgumentRules<T>,
): ReadArguments<T> {
  const values: Record<string, unknown> = {};
  const words: string[] = [];
  let previous: Option<unknown> | null = null;
  const takeWord = (word: string) => {
    if (rules.explainWord === null) words.push(word);
    else throw describeStrayWord(word, previous, rules.explainWord(word) ?? rules.seeHelp);
  };
  const rest = [...args];
  for (let argument = rest.shift(); argument !== undefined; argument = rest.shift()) {
    if (argument === "--") {
      rest.forEach(takeWord);
      break;
    }
    const flag = parseFlagArgument(argument);
    if (flag === null) {
      takeWord(argument);
      continue;
    }
    const [name, option] = findOption(flag.name, rules);
    values[name] = parseValue(option, flag.attachedValue ?? takeValue(option, rest), rules.seeHelp);
    if (name === "help" && values[name] === true) break;
    previous = option;
  }
  return { values: values as Partial<ValuesOf<T>>, words };
}

/** The values given, and the defaults of the others. */
export function withDefaults<T extends OptionTable>(options: T, given: Partial<ValuesOf<T>>): ValuesOf<T> {
  return Object.fromEntries(
    Object.entries(options).map(([name, option]) => [name, given[name] ?? option.defaultValue]),
  ) as ValuesOf<T>;
}

function findOption(
  flag: string,
  { options, seeHelp }: { options: OptionTable; seeHelp: string },
): [string, Option<unknown>] {
  const wanted = flag === "h" ? "help" : flag;
  for (const [name, option] of Object.entries(options)) {
    if (option.flag === wanted) return [name, option];
  }
  const meant = nearestName(flag, Object.values(options).map((option) => option.flag));
  throw new MarmotError(
    "usage",
    `Cannot use -${flag}: there is no such flag` + (meant === null ? "" : `, did you mean -${meant}?`),
    { hint: seeHelp },
  );
}

/** The value of a flag that has no "=": a switch is on, any other takes the next argument. */
function takeValue(option: Option<unknown>, rest: string[]): string {
  if (option.valueName === null) return "true";
  const value = rest.shift();
  if (value === undefined) {
    throw new MarmotError("usage", `Cannot use -${option.flag}: its value is missing`, {
      hint: `Write -${option.flag} and a ${option.valueName} after it.`,
    });
  }
  return value;
}

function parseValue(option: Option<unknown>, value: string, seeHelp: string): unknown {
  try {
    return option.parse(value);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    const shown = option.isSecret ? "" : ` ${JSON.stringify(value)}`;
    throw new MarmotError("usage", `Cannot use -${option.flag}${shown}: ${error.message}`, {
      hint: error.hint ?? seeHelp,
    });
  }
}

function describeStrayWord(word: string, previous: Option<unknown> | null, otherHint: string): MarmotError {
  const text = `Cannot use ${JSON.stringify(word)}: it is neither a flag nor the value of one`;
  const hint = previous !== null && previous.valueName === null && isAccepted(previous, word)
    ? `A switch takes its value after "=": -${previous.flag}=${word}`
    : otherHint;
  return new MarmotError("usage", text, { hint });
}

function isAccepted(option: Option<unknown>, value: string): boolean {
  try {
    option.parse(value);
    return true;
  } catch {
    return false;
  }
}
