/**
 * The database as a command for the operator opens it: beside a running node or without one. It changes nothing that
 * Marmot's own tables do not hold, makes no table, and leaves the journal mode alone.
 */
import { DatabaseBusyError, MarmotError } from "../../errors.ts";
import type { Connection } from "../connection.ts";
import { openDatabase } from "../open_database.ts";
import { hasStateTables } from "../state/state_tables.ts";

/** How long a command waits for a lock: a node and the application hold it for milliseconds. */
const BUSY_TIMEOUT_MS = 5000;

/** A table that came last: where it is, the others are. */
const NEWEST_TABLE = "__marmot__followed";

/**
 * Opens the database, does `work`, and closes it. Throws MarmotError where there is no such database, Marmot never ran
 * on it, or it stays locked.
 */
export function withOperatorAccess<T>(
  path: string,
  work: (connection: Connection) => T,
  busyTimeoutMs = BUSY_TIMEOUT_MS,
): T {
  try {
    const connection = openDatabase(path, busyTimeoutMs);
    try {
      assertMarmotRanOn(connection);
      return work(connection);
    } finally {
      connection.close();
    }
  } catch (error) {
    if (!(error instanceof DatabaseBusyError)) throw error;
    throw new MarmotError(
      "database-busy",
      `Cannot use the database "${path}": another program holds its lock`,
      { hint: "Wait until it has committed, and try again.", cause: error },
    );
  }
}

function assertMarmotRanOn(connection: Connection): void {
  const cannot = `Cannot look after the database "${connection.path}"`;
  if (!hasStateTables(connection)) {
    throw new MarmotError("database", `${cannot}: Marmot never ran on it`, {
      hint: "Check -db-path, or start a node on it first.",
    });
  }
  if (!hasTable(connection, NEWEST_TABLE)) {
    throw new MarmotError("database", `${cannot}: Marmot's tables in it are of an older release`, {
      hint: "Start a node of this release on it first.",
    });
  }
}

function hasTable(connection: Connection, name: string): boolean {
  return connection.statement("SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?")
    .get([name]) !== undefined;
}
