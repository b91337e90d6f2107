/** One run of the program: the command line, what it asks for, and the exit code that it ends with. */

import { type Config, parseCommandLine } from "../config/config.ts";
import { cleanUp } from "../node/clean_up.ts";
import { runNode } from "../node/run_node.ts";
import { saveSnapshotOnce } from "../node/snapshot/save_once.ts";
import { createLog } from "../observability/console_log.ts";
import type { Log } from "../observability/log.ts";
import { summarise } from "../observability/summarised_log.ts";
import { parseCommand } from "./command.ts";
import { explainWord, findCommand } from "./commands.ts";
import { describeFailure, EXIT_DONE } from "./failure.ts";
import { commandHelpText, helpText } from "./help.ts";
import { withProgress } from "./progress_line.ts";
import type { Terminal } from "./terminal.ts";
import { versionText } from "./version.ts";

interface Caller {
  readonly terminal: Terminal;
  readonly stop: AbortSignal;
}

/** Does what the command line asks for until it is done or `stop` aborts. Never throws. */
export async function runCommandLine(
  args: readonly string[],
  { terminal, stop }: Caller,
): Promise<number> {
  let verbose = false;
  try {
    const command = findCommand(args[0] ?? "");
    if (command) {
      const invocation = parseCommand(command, args.slice(1));
      if (invocation.action === "help") terminal.writeOutput(commandHelpText(command));
      else {
        verbose = invocation.verbose;
        return await invocation.run({ terminal, stop }) ?? EXIT_DONE;
      }
      return EXIT_DONE;
    }
    const invocation = parseCommandLine(args, explainWord);
    switch (invocation.action) {
      case "help":
        terminal.writeOutput(helpText());
        break;
      case "version":
        terminal.writeOutput(versionText());
        break;
      case "run":
        verbose = invocation.config.verbose;
        await run(invocation.config, { terminal, stop });
    }
    return EXIT_DONE;
  } catch (error) {
    if (stop.aborted && error === stop.reason) return EXIT_DONE;
    const failure = describeFailure(error, verbose);
    terminal.writeError(failure.text);
    return failure.exitCode;
  }
}

async function run(config: Config, caller: Caller): Promise<void> {
  const everyLine = createLog({ verbose: config.verbose });
  const log = summarise(everyLine);
  try {
    // Whoever asks for debug lines wants to see every line.
    await runWith(config, config.verbose ? everyLine : log, caller);
  } finally {
    log.flush();
  }
}

async function runWith(config: Config, log: Log, { terminal, stop }: Caller): Promise<void> {
  if (config.cleanup) return await cleanUp(config, log);
  if (config.saveSnapshot) {
    return void await withProgress(
      terminal,
      ({ show, beside }) => saveSnapshotOnce({ ...config, log: beside(log), stop, onProgress: show }),
    );
  }
  stop.addEventListener("abort", () => log.info("stopping", { reason: String(stop.reason.message) }), {
    once: true,
  });
  await runNode(config, log, stop);
}
