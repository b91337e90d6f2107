/**
 * Taking over a database that the original Marmot v0.6 was used with: its triggers and tables go, what it had not
 * published is logged as our own, and its positions come from its seq-map file. Without that its triggers would make the
 * application fail, because they call a function that only the original has.
 * Names: tests/golden/names_v06.json, "database".
 */
import type { ArmedTable } from "../rows/armed_tables.ts";
import type { Connection } from "../connection.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { columnAt } from "../rows/row_access.ts";
import { CHANGE_LOG } from "../state/state_tables.ts";
import type { StreamPositions } from "../state/stream_positions.ts";

const GLOBAL_LOG = "__marmot___change_log_global";
const PENDING_STATE = 0;

export function hasOriginalState(connection: Connection): boolean {
  return connection.statement("SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?").get([
    GLOBAL_LOG,
  ]) !== undefined;
}

/** Removes the original's triggers. Call in a write transaction, before arming. */
export function dropOriginalTriggers(connection: Connection): void {
  const names = connection.statement(
    "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND name GLOB '__marmot__*_change_log_on_*'",
  ).all();
  for (const [name] of names) connection.exec(`DROP TRIGGER ${quoteIdentifier(String(name))}`);
}

/** Logs what the original had not published, takes its positions, and removes its tables. Call in the same transaction, after arming. */
export function adoptOriginalState(
  connection: Connection,
  from: { tables: readonly ArmedTable[]; positions: StreamPositions; seqMap: ReadonlyMap<string, number> },
): void {
  for (const table of from.tables) adoptPendingRows(connection, table);
  if (from.positions.isEmpty) {
    for (const [name, cursor] of from.seqMap) {
      from.positions.set({ name, createdAt: "", cursor, storedAt: "" });
    }
    from.positions.save();
  }
  const logs = connection.statement(
    "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND (name GLOB '__marmot__*_change_log' OR name = ?) AND name <> ?",
  ).all([GLOBAL_LOG, CHANGE_LOG]);
  for (const [name] of logs) connection.exec(`DROP TABLE ${quoteIdentifier(String(name))}`);
}

function adoptPendingRows(connection: Connection, table: ArmedTable): void {
  const log = `__marmot__${table.schema.name}_change_log`;
  const columns = connection.statement("SELECT name FROM pragma_table_info(?)").all([log]).map((row) =>
    String(row[0])
  );
  const key = table.schema.key.map((position) => `val_${columnAt(table.schema, position).name ?? "rowid"}`);
  if (!key.every((name) => columns.includes(name))) return;
  connection.exec(
    `INSERT INTO ${CHANGE_LOG} (table_id${key.map((_, i) => `, k${i}`).join("")}) ` +
      `SELECT ${table.id}, ${key.map(quoteIdentifier).join(", ")} FROM ${
        quoteIdentifier(log)
      } WHERE state = ${PENDING_STATE} ORDER BY id`,
  );
}
