/**
 * A log in which a run of lines about the same event does not hide the others: the first few are written at once, the
 * rest is counted and told by one line every few seconds, with the fields of the last. Debug lines are left alone.
 */
import type { Log, LogFields } from "./log.ts";

/** How many lines of an event are written at once, and for how long those behind them are counted. */
export const AT_ONCE = 10;
export const WINDOW_MS = 10_000;

export interface SummarisedLog extends Log {
  /** Tells what was counted and not told yet: to be called at the end. */
  flush(): void;
}

export interface SummariseOptions {
  /** Calls back after some time; the process does not wait for it. */
  readonly after?: (milliseconds: number, callback: () => void) => void;
}

type Level = "info" | "warn" | "error";

/** One event, for as long as lines of it come. */
interface Run {
  written: number;
  counted: number;
  last: LogFields | undefined;
}

export function summarise(log: Log, { after = later }: SummariseOptions = {}): SummarisedLog {
  const runs = new Map<string, Run>();

  const tell = (key: string): void => {
    const run = runs.get(key);
    if (run === undefined || run.counted === 0) return void runs.delete(key);
    const [level, event] = [key.slice(0, key.indexOf(" ")) as Level, key.slice(key.indexOf(" ") + 1)];
    const { counted, last } = run;
    run.counted = 0;
    if (counted === 1) log[level](event, last);
    else log[level](event, { more: counted, seconds: WINDOW_MS / 1000, ...last });
    after(WINDOW_MS, () => tell(key));
  };

  const write = (level: Level) => (event: string, fields?: LogFields): void => {
    const key = `${level} ${event}`;
    const run = runs.get(key) ?? { written: 0, counted: 0, last: undefined };
    if (!runs.has(key)) {
      runs.set(key, run);
      after(WINDOW_MS, () => tell(key));
    }
    if (run.written < AT_ONCE) {
      run.written++;
      return log[level](event, fields);
    }
    run.counted++;
    run.last = fields;
  };

  return {
    debug: (event, fields) => log.debug(event, fields),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    flush: () => {
      for (const key of [...runs.keys()]) tell(key);
    },
  };
}

function later(milliseconds: number, callback: () => void): void {
  setTimeout(callback, milliseconds).unref();
}
