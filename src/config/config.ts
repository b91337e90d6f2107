/**
 * From the command line to a frozen Config. Everything that can be refused without touching a file or the
 * network is refused here, as a MarmotError of code "usage".
 */

import { MarmotError } from "../errors.ts";
import { readArguments, withDefaults } from "./arguments.ts";
import { MAX_LOG_REPLICAS, OPTIONS, type OptionValues } from "./options.ts";

/** What a node is told to do; `logReplicas` is the number that streams are created with, 1 to 5. */
export type Config = Readonly<Omit<OptionValues, "help" | "version">>;

/** What the command line asks for. */
export type Invocation =
  | { readonly action: "help" }
  | { readonly action: "version" }
  | { readonly action: "run"; readonly config: Config };

const SEE_HELP = "marmot -help lists all commands and flags.";

/**
 * Reads the command line of a node: flags only. `explainWord` gives a hint for a word among them, such as a command
 * that stands behind a flag. Throws MarmotError "usage".
 */
export function parseCommandLine(
  args: readonly string[],
  explainWord: (word: string) => string | undefined = () => undefined,
): Invocation {
  const { values } = readArguments(args, { options: OPTIONS, seeHelp: SEE_HELP, explainWord });
  if (values.help === true) return { action: "help" };
  if (values.version === true) return { action: "version" };
  return { action: "run", config: makeConfig(values) };
}

/** A Config of the options given and the defaults of the others. Throws MarmotError "usage". */
export function makeConfig(given: Partial<OptionValues>): Config {
  const values = withDefaults(OPTIONS, given);
  const { help: _help, version: _version, ...config } = values;
  if (config.saveSnapshot && !config.enableSnapshot) {
    throw new MarmotError("usage", "Cannot save a snapshot: -enable-snapshot=false switches snapshots off", {
      hint: "Leave one of the two flags out.",
    });
  }
  return Object.freeze({ ...config, logReplicas: countReplicas(config.logReplicas, config.shards) });
}

/** As the original: below 1 stands for half of the shards plus 1, and no stream has more than 5. */
function countReplicas(requested: number, shards: number): number {
  const replicas = requested < 1 ? Math.floor(shards / 2) + 1 : requested;
  return Math.min(replicas, MAX_LOG_REPLICAS);
}
