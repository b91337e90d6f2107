/**
 * One SQLite connection with exact values. This is the only file that imports node:sqlite.
 * Rows come as arrays; INTEGER as bigint, REAL as number. TEXT with NUL or broken UTF-8 does not survive a
 * plain read: use exact_select.ts where a value can be such a TEXT.
 */
import { backup, constants, DatabaseSync, type StatementSync } from "node:sqlite";
import { DatabaseBusyError, errorText, MarmotError } from "../errors.ts";
import { RawText, type Value } from "../wire/value.ts";

/** Extended result codes that callers tell apart. Source: https://www.sqlite.org/rescode.html. */
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_FULL = 13;
const SQLITE_CONSTRAINT = 19;
const SQLITE_MISMATCH = 20;
const SQLITE_NOTADB = 26;
/** In one step: else a writer between two steps makes SQLite begin again. Source: sqlite3_backup_step. */
const ALL_PAGES = -1;

/** SQLite refused a statement. `resultCode` is the extended result code, 0 where the runtime gives none. */
export class SqliteError extends MarmotError {
  override readonly name = "SqliteError";
  readonly resultCode: number;

  constructor(message: string, resultCode: number, cause: unknown) {
    super("database", message, { cause });
    this.resultCode = resultCode;
  }

  /** A constraint, a RAISE of a trigger, or a type of a STRICT table said no to a row. */
  get isConstraint(): boolean {
    const primary = this.resultCode & 0xff;
    return primary === SQLITE_CONSTRAINT || primary === SQLITE_MISMATCH;
  }

  get isNotADatabase(): boolean {
    return this.resultCode === SQLITE_NOTADB || this.message.includes("file is not a database");
  }
}

/** There is no room for what SQLite wanted to write. */
export class DiskFullError extends MarmotError {
  override readonly name = "DiskFullError";

  constructor(cause: unknown) {
    super("database", "Cannot write to the database: its disk is full", {
      hint: "Make room and start Marmot again: no change is lost.",
      cause,
    });
  }
}

/** Asked by SQLite for each step while it compiles a statement. Source: sqlite3_set_authorizer. */
export type Authorizer = (
  action: number,
  first: string | null,
  second: string | null,
  database: string | null,
  trigger: string | null,
) => number;

export const authorizerCodes = {
  ok: constants.SQLITE_OK,
  deny: constants.SQLITE_DENY,
  ignore: constants.SQLITE_IGNORE,
  insert: constants.SQLITE_INSERT,
  update: constants.SQLITE_UPDATE,
  delete: constants.SQLITE_DELETE,
} as const;

export class Statement {
  readonly #statement: StatementSync;

  constructor(statement: StatementSync) {
    statement.setReadBigInts(true);
    statement.setReturnArrays(true);
    this.#statement = statement;
  }

  all(parameters: readonly Value[] = []): Value[][] {
    return guard(() => this.#statement.all(...parameters.map(bindable)) as unknown as Value[][]);
  }

  get(parameters: readonly Value[] = []): Value[] | undefined {
    return guard(() => this.#statement.get(...parameters.map(bindable)) as unknown as Value[] | undefined);
  }

  /** Gives one row after the other, read when it is asked for. The statement must not be run again before the end. */
  *iterate(parameters: readonly Value[] = []): Generator<Value[]> {
    const rows = guard(() => this.#statement.iterate(...parameters.map(bindable)));
    try {
      for (let next = guard(() => rows.next()); !next.done; next = guard(() => rows.next())) {
        yield next.value as unknown as Value[];
      }
    } finally {
      rows.return?.();
    }
  }

  /** Runs the statement and returns how many rows it changed itself, triggers not counted. */
  run(parameters: readonly Value[] = []): number {
    return guard(() => Number(this.#statement.run(...parameters.map(bindable)).changes));
  }
}

export interface ConnectionOptions {
  readOnly?: boolean;
  /** How long SQLite itself waits for a lock, which blocks the event loop. */
  busyTimeoutMs?: number;
}

export class Connection {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, Statement>();

  /** Opens the database. Throws MarmotError with a sentence for the operator where that is impossible. */
  constructor(readonly path: string, options: ConnectionOptions = {}) {
    this.#database = guard(() =>
      new DatabaseSync(path, {
        readOnly: options.readOnly ?? false,
        timeout: options.busyTimeoutMs ?? 0,
        enableForeignKeyConstraints: false,
      })
    );
  }

  /** The prepared statement of this text, compiled once. */
  statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** A prepared statement that is not kept. */
  prepare(sql: string): Statement {
    return guard(() => new Statement(this.#database.prepare(sql)));
  }

  /** Forgets all kept statements, as after a change of schema. */
  forgetStatements(): void {
    this.#statements.clear();
  }

  exec(sql: string): void {
    guard(() => this.#database.exec(sql));
  }

  setAuthorizer(authorizer: Authorizer): void {
    this.#database.setAuthorizer(authorizer);
  }

  get isInTransaction(): boolean {
    return this.#database.isTransaction;
  }

  /** Runs `work` in one write transaction. Throws DatabaseBusyError where another connection is writing. */
  write<T>(work: () => T): T {
    return this.#transaction("BEGIN IMMEDIATE", work);
  }

  /** Runs `work` on one snapshot of the database. */
  read<T>(work: () => T): T {
    return this.#transaction("BEGIN", work);
  }

  /** Runs `work` inside the open transaction so that an error undoes just that work. */
  savepoint<T>(work: () => T): T {
    this.statement("SAVEPOINT __marmot__").run();
    try {
      const result = work();
      this.statement("RELEASE __marmot__").run();
      return result;
    } catch (error) {
      this.statement("ROLLBACK TO __marmot__").run();
      this.statement("RELEASE __marmot__").run();
      throw error;
    }
  }

  /** One integer of a one-row query, such as a pragma. */
  integer(sql: string): number {
    return Number(this.statement(sql).get()?.[0] ?? 0);
  }

  /**
   * Makes a file the same database, page by page, at one moment of this one. A file that holds a database is overwritten in
   * one transaction, which its other users see. Blocks the thread until it is done.
   */
  async backUpTo(path: string): Promise<void> {
    try {
      await backup(this.#database, path, { rate: ALL_PAGES });
    } catch (error) {
      throw translate(error);
    }
  }

  close(): void {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  #transaction<T>(begin: string, work: () => T): T {
    this.exec(begin);
    try {
      const result = work();
      this.exec("COMMIT");
      return result;
    } catch (error) {
      if (this.isInTransaction) this.exec("ROLLBACK");
      throw error;
    }
  }
}

/** A value as node:sqlite takes it; RawText goes as bytes, and its statement casts them back to TEXT. */
function bindable(value: Value): null | bigint | number | string | Uint8Array {
  return value instanceof RawText ? value.bytes : value;
}

function guard<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw translate(error);
  }
}

function translate(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error) || error.code !== "ERR_SQLITE_ERROR") return error;
  const message = errorText(error);
  const resultCode = "errcode" in error && typeof error.errcode === "number" ? error.errcode : 0;
  const primary = resultCode & 0xff;
  const isBusy = primary === SQLITE_BUSY || primary === SQLITE_LOCKED ||
    /^database (table |schema )?is locked/.test(message);
  if (primary === SQLITE_FULL || /^database or disk is full/.test(message)) {
    return new DiskFullError(error);
  }
  if (/^no such table: (main\.)?__marmot__/.test(message)) {
    return new MarmotError(
      "database",
      "Cannot go on with the database: Marmot's tables were removed from it, as -cleanup does",
      {
        hint:
          "Stop Marmot before -cleanup. To replicate again, begin with a new copy of another node's database.",
        cause: error,
      },
    );
  }
  return isBusy ? new DatabaseBusyError(error) : new SqliteError(message, resultCode, error);
}
