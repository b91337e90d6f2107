/**
 * From the command line to a frozen Config. Everything that can be refused without touching a file or the
 * network is refused here, as a MarmotError of code "usage".
 */

import { MarmotError } from "../errors.ts";
import { parseFlagArgument } from "./go_syntax.ts";
import { InvalidValueError, type Option } from "./option.ts";
import { MAX_LOG_REPLICAS, type OptionName, OPTIONS, type OptionValues } from "./options.ts";
import { nearestName } from "./spelling.ts";

/** What a node is told to do; `logReplicas` is the number that streams are created with, 1 to 5. */
export type Config = Readonly<Omit<OptionValues, "help" | "version">>;

/** What the command line asks for. */
export type Invocation =
  | { readonly action: "help" }
  | { readonly action: "version" }
  | { readonly action: "run"; readonly config: Config; readonly givenOptions: ReadonlySet<OptionName> };

const SEE_HELP = "marmot -help lists all flags.";

type GivenValues = Partial<Record<OptionName, unknown>>;

/** Reads the command line by Go's rules: the last of two equal flags counts. Throws MarmotError "usage". */
export function parseCommandLine(args: readonly string[]): Invocation {
  const values: GivenValues = {};
  let previous: Option<unknown> | null = null;
  const rest = [...args];
  for (let argument = rest.shift(); argument !== undefined; argument = rest.shift()) {
    if (argument === "--") {
      if (rest[0] === undefined) break;
      throw describeStrayArgument(rest[0], null);
    }
    const flag = parseFlagArgument(argument);
    if (flag === null) throw describeStrayArgument(argument, previous);
    const [name, option] = findOption(flag.name);
    values[name] = parseValue(option, flag.attachedValue ?? takeValue(option, rest));
    if (name === "help" && values.help === true) return { action: "help" };
    previous = option;
  }
  if (values.version === true) return { action: "version" };
  const givenOptions = new Set(Object.keys(values) as OptionName[]);
  return { action: "run", config: makeConfig(values as Partial<OptionValues>), givenOptions };
}

/** A Config of the options given and the defaults of the others. Throws MarmotError "usage". */
export function makeConfig(given: Partial<OptionValues>): Config {
  const values = Object.fromEntries(
    Object.entries(OPTIONS).map(([name, option]) => [name, given[name as OptionName] ?? option.defaultValue]),
  ) as unknown as OptionValues;
  const { help: _help, version: _version, ...config } = values;
  if (config.saveSnapshot) {
    throw new MarmotError("usage", "Cannot save a snapshot: -save-snapshot comes with the snapshot release", {
      hint: "Leave the flag out; to copy a database by hand use SQLite's VACUUM INTO.",
    });
  }
  return Object.freeze({ ...config, logReplicas: countReplicas(config.logReplicas, config.shards) });
}

/** As the original: below 1 stands for half of the shards plus 1, and no stream has more than 5. */
function countReplicas(requested: number, shards: number): number {
  const replicas = requested < 1 ? Math.floor(shards / 2) + 1 : requested;
  return Math.min(replicas, MAX_LOG_REPLICAS);
}

function findOption(flag: string): [OptionName, Option<unknown>] {
  const wanted = flag === "h" ? "help" : flag;
  for (const [name, option] of Object.entries(OPTIONS)) {
    if (option.flag === wanted) return [name as OptionName, option];
  }
  const meant = nearestName(flag, Object.values(OPTIONS).map((option) => option.flag));
  throw new MarmotError(
    "usage",
    `Cannot use -${flag}: there is no such flag` + (meant === null ? "" : `, did you mean -${meant}?`),
    { hint: SEE_HELP },
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

function parseValue(option: Option<unknown>, value: string): unknown {
  try {
    return option.parse(value);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    const shown = option.isSecret ? "" : ` ${JSON.stringify(value)}`;
    throw new MarmotError("usage", `Cannot use -${option.flag}${shown}: ${error.message}`, {
      hint: error.hint ?? SEE_HELP,
    });
  }
}

function describeStrayArgument(argument: string, previous: Option<unknown> | null): MarmotError {
  const text = `Cannot use ${JSON.stringify(argument)}: it is neither a flag nor the value of one`;
  const hint = previous !== null && previous.valueName === null && isAccepted(previous, argument)
    ? `A switch takes its value after "=": -${previous.flag}=${argument}`
    : SEE_HELP;
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
