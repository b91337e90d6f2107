/** Leaves the database as it was before Marmot came: no trigger, no table, no row of Marmot's. */
import type { Connection } from "../connection.ts";
import { isReservedName, MARMOT_PREFIX, quoteIdentifier } from "../schema/identifiers.ts";

/** What was removed. Changes that were not published are lost with the change log. */
export interface Removed {
  readonly triggers: number;
  readonly tables: number;
}

/** Removes everything of Marmot's in one transaction, also what the original v0.6 left. Throws DatabaseBusyError. */
export function removeMarmot(connection: Connection): Removed {
  return connection.write(() => {
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
