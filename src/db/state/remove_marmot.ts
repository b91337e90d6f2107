/** Leaves the database as it was before Marmot came: no trigger, no table, no row of Marmot's. */
import type { Connection } from "../connection.ts";
import { isReservedName, MARMOT_PREFIX, quoteIdentifier } from "../schema/identifiers.ts";
import { CHANGE_LOG, entryKinds } from "./state_tables.ts";

export interface Removed {
  readonly triggers: number;
  readonly tables: number;
}

/**
 * Removes everything of Marmot's in one transaction, also what the original v0.6 left. Changes that were not published are
 * lost with the change log: `onUnpublished` is told before how many, where there are any. Throws DatabaseBusyError.
 */
export function removeMarmot(
  connection: Connection,
  onUnpublished: (changes: number) => void = () => {},
): Removed {
  return connection.write(() => {
    const unpublished = countUnpublished(connection);
    if (unpublished > 0) onUnpublished(unpublished);
    const objects = connection.statement(
      "SELECT type, name FROM main.sqlite_schema WHERE type IN ('trigger', 'table')",
    ).all()
      .map(([type, name]) => ({ type: String(type), name: String(name) }))
      .filter(({ name }) => isReservedName(name) && name.toLowerCase().startsWith(MARMOT_PREFIX));
    const triggers = objects.filter((object) => object.type === "trigger");
    const tables = objects.filter((object) => object.type === "table");
    for (const { name } of triggers) connection.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
    for (const { name } of tables) connection.exec(`DROP TABLE ${quoteIdentifier(name)}`);
    return { triggers: triggers.length, tables: tables.length };
  });
}

/** Changes in the log that this node has not read back. A victim entry says nothing of its own. */
function countUnpublished(connection: Connection): number {
  const hasLog = connection.statement("SELECT 1 FROM pragma_table_info(?) WHERE name = 'kind'").get([
    CHANGE_LOG,
  ]);
  if (hasLog === undefined) return 0;
  const { change, backfill } = entryKinds;
  return connection.integer(`SELECT count(*) FROM ${CHANGE_LOG} WHERE kind IN (${change}, ${backfill})`);
}
