/** Opening a database file, and what goes wrong with it, in sentences. */
import { existsSync, statSync } from "node:fs";
import { MarmotError } from "../errors.ts";
import { Connection, type ConnectionOptions, SqliteError } from "./connection.ts";

/** How long SQLite may wait for a lock by itself, which blocks the event loop. */
const BUSY_TIMEOUT_MS = 4;

/** Opens the database file as Marmot does. Throws MarmotError where it does not exist or is no database. */
export function openDatabase(path: string, busyTimeoutMs = BUSY_TIMEOUT_MS): Connection {
  return openExisting(path, { busyTimeoutMs });
}

/** Opens the database file for reading alone; the rest as openDatabase. */
export function openDatabaseReadOnly(path: string, busyTimeoutMs: number): Connection {
  return openExisting(path, { busyTimeoutMs, readOnly: true });
}

function openExisting(path: string, options: ConnectionOptions): Connection {
  if (!existsSync(path)) {
    throw new MarmotError("database", `Cannot open the database "${path}": there is no such file`, {
      hint: "Marmot replicates a database that exists: start the application first, or check -db-path.",
    });
  }
  if (!statSync(path).isFile()) {
    throw new MarmotError("database", `Cannot open the database "${path}": it is not a file`);
  }
  try {
    const connection = new Connection(path, options);
    connection.integer("SELECT count(*) FROM sqlite_schema");
    return connection;
  } catch (error) {
    throw openError(path, error);
  }
}

/** A failure to open a database file in one sentence; what is none stays as it is. */
export function openError(path: string, error: unknown): unknown {
  if (!(error instanceof SqliteError)) return error;
  const why = error.isNotADatabase ? "the file is not an SQLite database" : error.message;
  return new MarmotError("database", `Cannot open the database "${path}": ${why}`, {
    hint: "Marmot needs to read and write the file and its folder.",
    cause: error,
  });
}
