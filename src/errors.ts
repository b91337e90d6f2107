/**
 * The errors that Marmot raises on purpose. A message says what could not be done, to what, and why; the
 * hint says what the operator can do about it. Anything else that is thrown is a defect.
 */

/** What went wrong, for programs and tests; the message is for people. */
export type ErrorCode =
  | "usage"
  | "database"
  | "database-busy"
  | "schema"
  | "wire"
  | "broker"
  | "identity"
  | "snapshot"
  | "internal";

export interface MarmotErrorOptions {
  /** What the operator can do, one sentence; left out where nothing can be done. */
  hint?: string;
  cause?: unknown;
}

/** An error that a person is meant to read. */
export class MarmotError extends Error {
  override readonly name: string = "MarmotError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: MarmotErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** A message that can never be applied: it does not decode, or its fields are of wrong types. */
export class MalformedMessageError extends MarmotError {
  override readonly name = "MalformedMessageError";

  constructor(reason: string, options: MarmotErrorOptions = {}) {
    super("wire", reason, options);
  }
}

/** An event that is sound but does not fit the local schema: its table is parked until the schema fits. */
export class SchemaMismatchError extends MarmotError {
  override readonly name = "SchemaMismatchError";

  constructor(reason: string, options: MarmotErrorOptions = {}) {
    super("schema", reason, options);
  }
}

/** A table image would delete more rows than it may: its table is parked until the operator allows it. */
export class TooManyDeletionsError extends MarmotError {
  override readonly name = "TooManyDeletionsError";

  constructor(reason: string, options: MarmotErrorOptions = {}) {
    super("schema", reason, options);
  }
}

/** SQLite reported SQLITE_BUSY or SQLITE_LOCKED: another connection holds the lock, try again soon. */
export class DatabaseBusyError extends MarmotError {
  override readonly name = "DatabaseBusyError";

  constructor(cause: unknown) {
    super("database-busy", "the database is locked by another connection", { cause });
  }
}

/** More was captured than can be taken in while the write lock is held: it must be taken in before. */
export class BacklogError extends MarmotError {
  override readonly name = "BacklogError";

  constructor() {
    super("database-busy", "too many captured changes are not known yet");
  }
}

/** The text of any thrown value, without its stack. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
