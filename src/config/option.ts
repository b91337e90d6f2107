/**
 * The kinds that an option can be of. An option knows its flag, its default, its help text and how its
 * value is read; the table of all of them is options.ts.
 */

import { parseGoInteger } from "./go_syntax.ts";

/** Why a value can't be used, worded to follow "Cannot use -flag value: ". */
export class InvalidValueError extends Error {
  override readonly name = "InvalidValueError";

  constructor(reason: string, readonly hint?: string) {
    super(reason);
  }
}

export interface Option<T> {
  /** Name on the command line, without the dash. */
  readonly flag: string;
  /** What help calls the value; null for a switch, which takes one only after "=". */
  readonly valueName: string | null;
  readonly defaultValue: T;
  /** The default as help shows it; the empty string where there is none to show. */
  readonly defaultText: string;
  /** What it does, one sentence; the values allowed included. */
  readonly text: string;
  /** The value may hold a password, so messages do not repeat it. */
  readonly isSecret: boolean;
  /** Reads and validates the value. Throws InvalidValueError. */
  readonly parse: (value: string) => T;
}

/** What every kind is told about an option. */
interface Description {
  flag: string;
  text: string;
}

const TRUE_WORDS = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE_WORDS = ["0", "f", "F", "FALSE", "false", "False"];

/** On or off, with the words that Go's strconv.ParseBool knows. */
export function switchOption(option: Description & { defaultValue: boolean }): Option<boolean> {
  return {
    ...option,
    valueName: null,
    defaultText: String(option.defaultValue),
    isSecret: false,
    parse(value) {
      if (TRUE_WORDS.includes(value)) return true;
      if (FALSE_WORDS.includes(value)) return false;
      throw new InvalidValueError("it must be true or false");
    },
  };
}

/** A whole number within a range, small enough to be exact as a number. */
export function numberOption(
  option: Description & { defaultValue: number; minimum: number; maximum: number },
): Option<number> {
  const { minimum, maximum, ...description } = option;
  return {
    ...description,
    valueName: "number",
    defaultText: String(option.defaultValue),
    isSecret: false,
    parse(value) {
      const number = parseGoInteger(value);
      if (number === null || number < BigInt(minimum) || number > BigInt(maximum)) {
        throw new InvalidValueError(`it must be a whole number from ${minimum} to ${maximum}`);
      }
      return Number(number);
    },
  };
}

const LARGEST_UNSIGNED_64_BIT = 2n ** 64n - 1n;

/** An unsigned 64-bit number, exact; undefined where none was given. */
export function identityOption(option: Description & { defaultText: string }): Option<bigint | undefined> {
  return {
    ...option,
    valueName: "number",
    defaultValue: undefined,
    isSecret: false,
    parse(value) {
      const number = parseGoInteger(value);
      if (number === null || number < 0n || number > LARGEST_UNSIGNED_64_BIT) {
        throw new InvalidValueError(`it must be a whole number from 0 to ${LARGEST_UNSIGNED_64_BIT}`);
      }
      return number;
    },
  };
}

/** Text that `parse` reads; the default is text too and is read the same way. */
export function textOption<T>(
  option: Description & {
    valueName: string;
    defaultText: string;
    isSecret?: boolean;
    parse: (value: string) => T;
  },
): Option<T> {
  return { ...option, isSecret: option.isSecret ?? false, defaultValue: option.parse(option.defaultText) };
}

/** One of a few words; the first is the default. */
export function choiceOption<const T extends string>(
  option: Description & { valueName: string; choices: readonly [T, ...T[]] },
): Option<T> {
  const { choices, ...description } = option;
  return {
    ...description,
    defaultValue: choices[0],
    defaultText: choices[0],
    isSecret: false,
    parse(value) {
      const choice = choices.find((word) => word === value);
      if (choice === undefined) throw new InvalidValueError(`it must be ${choices.join(" or ")}`);
      return choice;
    },
  };
}
