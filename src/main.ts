/**
 * Where the program starts and ends: the only reader of Deno.args and the only caller of Deno.exit.
 * Exit codes: 0 done or stopped by a signal, 1 failed, 2 wrong usage, 128 + n ended by a second signal.
 */

import { writeSync } from "node:fs";
import { describeFailure } from "./cli/failure.ts";
import { runCommandLine } from "./cli/run.ts";
import { abortOnSignals } from "./cli/signals.ts";

const STDOUT = 1;
const STDERR = 2;

const terminal = {
  writeOutput: (text: string) => writeToTerminal(STDOUT, text),
  writeError: (text: string) => writeToTerminal(STDERR, text),
  isWatched: Deno.stderr.isTerminal(),
  confirm: (question: string) => Deno.stdin.isTerminal() ? confirm(question) : null,
};

/** A reader that went away (`marmot -help | head -1`) is no failure of ours. */
function writeToTerminal(file: number, text: string): void {
  try {
    writeSync(file, text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}

/** What no part awaited is a defect: it ends the process, because nobody knows what it left undone. */
function endOnDefect(error: unknown): never {
  const failure = describeFailure(error, Deno.args.some((argument) => /^--?verbose$/.test(argument)));
  terminal.writeError(failure.text);
  Deno.exit(failure.exitCode);
}

addEventListener("error", (event) => endOnDefect(event.error));
addEventListener("unhandledrejection", (event) => endOnDefect(event.reason));

const stop = abortOnSignals((exitCode) => Deno.exit(exitCode));
Deno.exit(await runCommandLine(Deno.args, { terminal, stop }));
