/** One line on the terminal that tells how far a long command is, written anew in its place. */
import type { Log, LogFields } from "../observability/log.ts";
import type { Terminal } from "./terminal.ts";

const MEGABYTE = 1e6;

/** "uploading 12.0 of 40.0 MB (30 %)"; without a total just what is done. Changes are counted, not weighed. */
export function progressText(stage: string, done: number, total: number): string {
  if (stage === "waiting") return `waiting until ${total - done} changes are published`;
  if (!Number.isFinite(total) || total <= 0) return `${stage} ${megabytes(done)} MB`;
  const percent = Math.floor(100 * Math.min(1, done / total));
  return `${stage} ${megabytes(done)} of ${megabytes(total)} MB (${percent} %)`;
}

export interface ProgressLine {
  readonly show: (stage: string, done: number, total: number) => void;
  /** A log to the same terminal, the lines of which do not run into this one. */
  readonly beside: (log: Log) => Log;
}

/** Does the work with a line that follows it; where nobody watches a terminal, nothing is written. */
export async function withProgress<T>(
  terminal: Terminal,
  work: (line: ProgressLine) => Promise<T>,
): Promise<T> {
  if (!terminal.isWatched) return await work({ show: () => {}, beside: (log) => log });
  let shown = "";
  const clear = () => {
    if (shown !== "") terminal.writeError(`\r${" ".repeat(shown.length)}\r`);
    shown = "";
  };
  const write = (text: string) => {
    // Blanks over what a longer line has left.
    terminal.writeError(`\r${text.padEnd(shown.length)}`);
    shown = text;
  };
  try {
    return await work({
      show(stage, done, total) {
        const text = progressText(stage, done, total);
        if (text !== shown) write(text);
      },
      beside: (log) => withBefore(log, clear),
    });
  } finally {
    clear();
  }
}

function withBefore(log: Log, happen: () => void): Log {
  const write = (level: keyof Log) => (event: string, fields?: LogFields) => {
    happen();
    log[level](event, fields);
  };
  return { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}

function megabytes(bytes: number): string {
  return (bytes / MEGABYTE).toFixed(1);
}
