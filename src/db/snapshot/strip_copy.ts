/**
 * Takes Marmot's objects out of a copy of a database. What a snapshot keeps of them says how far the streams were applied
 * and how to read what follows; all that belongs to the one node goes: its id, its change log, its triggers.
 */
import type { Connection } from "../connection.ts";
import { isReservedName, MARMOT_PREFIX, quoteIdentifier } from "../schema/identifiers.ts";
import { readKnownTables, writeKnownTable } from "../schema/known_tables.ts";

/** Tables that stay in a snapshot; they follow from the streams alone. */
const KEPT = new Set([
  "__marmot__stream",
  "__marmot__origin",
  "__marmot__table",
  "__marmot__part",
  "__marmot__image_read",
  "__marmot__unique",
]);

/** "snapshot" leaves what a new node goes on from; "backup" leaves nothing of Marmot's. */
export type StripKind = "snapshot" | "backup";

/** Strips a copy that nobody else uses; a failure leaves it unusable. */
export function stripCopy(connection: Connection, kind: StripKind): void {
  // A copy that is not finished is thrown away, so it needs no journal; what is dropped must not stand in its free pages.
  connection.exec("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
  connection.exec("PRAGMA secure_delete = ON");
  connection.write(() => {
    for (const name of marmotObjects(connection, "trigger")) {
      connection.exec(`DROP TRIGGER ${quoteIdentifier(name)}`);
    }
    for (const name of marmotObjects(connection, "table")) {
      if (kind === "backup" || !KEPT.has(name)) connection.exec(`DROP TABLE ${quoteIdentifier(name)}`);
    }
    if (kind === "snapshot") forgetTriggers(connection);
  });
}

function marmotObjects(connection: Connection, type: "trigger" | "table"): string[] {
  return connection.prepare("SELECT name FROM main.sqlite_schema WHERE type = ?").all([type])
    .map(([name]) => String(name))
    .filter((name) => isReservedName(name) && name.toLowerCase().startsWith(MARMOT_PREFIX));
}

/** Tables whose triggers are gone would be taken for tables with changes that nobody saw. */
function forgetTriggers(connection: Connection): void {
  for (const table of readKnownTables(connection)) {
    if (table.memory.captureSignature === "") continue;
    table.memory.captureSignature = "";
    writeKnownTable(connection, table);
  }
}
