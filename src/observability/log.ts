/**
 * The log that every part is handed: one line per event of interest, a fixed text and fields. Row contents
 * appear at debug level only.
 */

export type LogFields = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

/** A log that drops everything. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
