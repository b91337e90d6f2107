/**
 * Tables that are keyed by their rowid. VACUUM renumbers such rows from 1 on, and no trigger tells: it shows when
 * the schema version moves and the highest rowid has fallen. All rows are then published again under their new
 * numbers, and the numbers that are gone as deletions, both as backfill: nothing that this node has not read is overwritten.
 */
import type { ChangeLog } from "./change_log.ts";
import type { Connection } from "../connection.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { type KnownTable, writeKnownTable } from "../schema/known_tables.ts";
import type { TableSchema } from "../schema/schema.ts";
import { CHANGE_LOG, entryKinds } from "../state/state_tables.ts";

/** Numbers that are published as gone, at most. */
const MAX_GONE = 1_000_000;

/** Remembers the highest rowid of a table. Call in a write transaction, after the table has changed. */
export function noteHighestRowid(connection: Connection, schema: TableSchema, table: KnownTable): void {
  const highest = highestRowid(connection, schema);
  if (highest === table.memory.highestRowid) return;
  table.memory.highestRowid = highest;
  writeKnownTable(connection, table);
}

/**
 * Logs all rows of a table as backfill if they were renumbered, and returns whether they were. Call in a write
 * transaction where the schema version has moved, before the capture of later changes is read.
 */
export function backfillRenumbered(
  connection: Connection,
  log: ChangeLog,
  { schema, table }: { schema: TableSchema; table: KnownTable },
): boolean {
  const logged = connection.statement(`SELECT max(k0) FROM ${CHANGE_LOG} WHERE table_id = ? AND kind = ?`)
    .get([BigInt(table.id), BigInt(entryKinds.change)])?.[0];
  const before = Math.max(table.memory.highestRowid ?? 0, Number(logged ?? 0n));
  const highest = highestRowid(connection, schema);
  const count = connection.prepare(`SELECT count(*) FROM ${quoteIdentifier(schema.name)}`).get()?.[0];
  if (highest === 0 || highest >= before || Number(count) !== highest) return false;
  log.backfill(schema, table.id);
  const last = Math.min(before, highest + MAX_GONE);
  connection.prepare(
    `INSERT INTO ${CHANGE_LOG} (table_id, kind, k0) WITH RECURSIVE gone (k) AS ` +
      "(VALUES (?1) UNION ALL SELECT k + 1 FROM gone WHERE k < ?2) SELECT ?3, ?4, k FROM gone",
  ).run([BigInt(highest + 1), BigInt(last), BigInt(table.id), BigInt(entryKinds.backfill)]);
  return true;
}

function highestRowid(connection: Connection, schema: TableSchema): number {
  return Number(
    connection.prepare(`SELECT max(${schema.rowidName}) FROM ${quoteIdentifier(schema.name)}`).get()?.[0] ??
      0n,
  );
}
