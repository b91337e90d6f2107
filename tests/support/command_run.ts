/** Runs the command line inside the test's own process, as a person who answers `answer` to questions, and may watch a terminal. */
import { runCommandLine } from "../../src/cli/run.ts";

export interface CommandRun {
  readonly code: number;
  readonly output: string;
  readonly error: string;
  readonly questions: readonly string[];
}

export async function runCommand(
  args: readonly string[],
  answer: boolean | null = null,
  { isWatched = false }: { isWatched?: boolean } = {},
): Promise<CommandRun> {
  let output = "";
  let error = "";
  const questions: string[] = [];
  const code = await runCommandLine(args, {
    terminal: {
      isWatched,
      writeOutput: (text) => void (output += text),
      writeError: (text) => void (error += text),
      confirm: (question) => {
        if (answer !== null) questions.push(question);
        return answer;
      },
    },
    stop: new AbortController().signal,
  });
  return { code, output, error, questions };
}
