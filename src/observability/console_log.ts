/**
 * The log on the console: one line per event on stderr, the time in UTC, the level, the event, its fields.
 *
 *     2026-11-23T17:00:00.123Z INFO  node started node=2 shards=8
 *
 * A line is written before the call returns, so none is lost when the process ends.
 */

import { configureSync, getLogger, type LogLevel, type LogRecord, type Sink } from "@logtape/logtape";
import { writeSync } from "node:fs";
import type { Log, LogFields } from "./log.ts";

export interface LogOptions {
  /** Debug lines are written as well. */
  verbose: boolean;
  /** Gets each line, ended by a line break; stderr where left out. */
  write?: (line: string) => void;
}

const LEVEL_NAMES: Readonly<Record<LogLevel, string>> = {
  trace: "TRACE",
  debug: "DEBUG",
  info: "INFO ",
  warning: "WARN ",
  error: "ERROR",
  fatal: "FATAL",
};

/** LogTape's configuration belongs to the process, so it is written anew with all logs for each new one. */
const sinks: Record<string, Sink> = {};

/** A log of its own: several in one process do not mix. */
export function createLog({ verbose, write = writeToStderr }: LogOptions): Log {
  const category = ["marmot", String(Object.keys(sinks).length + 1)];
  sinks[category.join(" ")] = (record) => write(formatRecord(record));
  configureSync({
    reset: true,
    sinks,
    loggers: [
      { category: ["logtape", "meta"], sinks: [], parentSinks: "override" },
      ...Object.keys(sinks).map((name) => ({ category: name.split(" "), sinks: [name] })),
    ],
  });
  const logger = getLogger(category);
  return {
    debug: verbose ? (event, fields) => logger.debug(event, { ...fields }) : () => {},
    info: (event, fields) => logger.info(event, { ...fields }),
    warn: (event, fields) => logger.warn(event, { ...fields }),
    error: (event, fields) => logger.error(event, { ...fields }),
  };
}

function formatRecord({ timestamp, level, rawMessage, properties }: LogRecord): string {
  const event = typeof rawMessage === "string" ? rawMessage : rawMessage.join("");
  const time = new Date(timestamp).toISOString();
  return `${time} ${LEVEL_NAMES[level]} ${escapeControls(event)}${formatFields(properties as LogFields)}\n`;
}

/** ` name=value` for every field that has a value. */
function formatFields(fields: LogFields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${formatValue(String(value))}`)
    .join("");
}

/** Text that can't be mistaken for the rest of the line stands as it is, any other as a JSON string. */
function formatValue(text: string): string {
  return /^[^\s"=\\\p{Cc}]+$/u.test(text) ? text : escapeControls(JSON.stringify(text));
}

/** What a table or a message is called must not move the terminal's cursor or begin a line. */
function escapeControls(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

const STDERR = 2;

/**
 * Writes all of the line now. Where nobody reads stderr any more the line is dropped: a sidecar does not
 * stop replicating for want of a reader.
 */
function writeToStderr(line: string): void {
  const bytes = new TextEncoder().encode(line);
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(STDERR, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
    }
  }
}
