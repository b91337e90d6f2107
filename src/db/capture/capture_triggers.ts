/**
 * The triggers that name changed rows in the change log. Plain SQL that any SQLite since 3.24 and any driver runs:
 * no functions, no guard. SQLite fires no DELETE trigger for the rows that REPLACE removes: a table where that can be
 * other rows than the one with the new key (by UNIQUE indexes, by a rowid that is not the key) also has BEFORE
 * triggers, which log those rows as victims.
 */
import { columnAt } from "../rows/row_access.ts";
import { foldName, MARMOT_PREFIX, quoteIdentifier } from "../schema/identifiers.ts";
import { wordsOf } from "../schema/index_definition.ts";
import { type Column, keyTermSql, type TableSchema, type UniqueIndex } from "../schema/schema.ts";
import { CHANGE_LOG, entryKinds } from "../state/state_tables.ts";

/** What a table is called where it is searched: it may itself be called "new". */
const ROW = "__marmot__row";

export interface CaptureTrigger {
  readonly name: string;
  readonly sql: string;
}

/** Name prefix of the capture triggers of a table; the id survives a renaming of the table. */
function captureTriggerPrefix(tableId: number): string {
  return `${MARMOT_PREFIX}${tableId}_`;
}

/** The table id in the name of a capture trigger, undefined for other triggers. */
export function tableIdOfTrigger(triggerName: string): number | undefined {
  const match = /^__marmot__(\d+)_(insert|update|key|delete|(?:before|rowid)_(?:insert|update))$/.exec(
    triggerName,
  );
  return match ? Number(match[1]) : undefined;
}

/** Whether a capture trigger names no columns of its table but those of the key: nothing else can't be dropped for it. */
export function namesKeyColumnsAlone(triggerName: string): boolean {
  return !/_before_(?:insert|update)$/.test(triggerName);
}

/**
 * Text that changes exactly when the triggers must be made again. It names columns by position: SQLite itself keeps
 * the triggers right through RENAME.
 */
export function captureSignature(table: TableSchema): string {
  const indexes = table.uniqueIndexes.map((
    index,
  ) => [index.positions ?? index.terms, index.collations, index.where]);
  const defaults = table.uniqueIndexes.flatMap((index) => index.positions ?? []).map((p) => {
    const column = table.columns[p];
    return [column?.isNotNull, column?.defaultSql];
  });
  return JSON.stringify([table.keyKind, table.key, table.rowidName, indexes, defaults]);
}

/**
 * A UNIQUE index whose victims are not seen when a row is inserted without its INTEGER PRIMARY KEY: in a BEFORE INSERT
 * trigger that is -1 until SQLite has chosen it, and the index computes with it. Undefined where there is none.
 * Source: https://www.sqlite.org/lang_createtrigger.html, section 3.
 */
export function indexOverAutomaticKey(table: TableSchema): string | undefined {
  if (table.keyKind === "declared") return undefined;
  const keyName = table.columns[table.key[0] ?? -1]?.name;
  const names = new Set(["rowid", "_rowid_", "oid", ...(keyName ? [foldName(keyName)] : [])]);
  const others = new Set(table.columns.flatMap(({ name }) => name === null ? [] : [foldName(name)]));
  if (keyName) others.delete(foldName(keyName));
  return table.uniqueIndexes.find((index) => {
    if (index.positions !== null) return false;
    const words = wordsOf([...index.terms, index.where ?? ""].join(" "));
    return [...names].some((name) => words.has(name) && !others.has(name));
  })?.name;
}

/** All capture triggers of a table. */
export function captureTriggers(table: TableSchema, tableId: number): CaptureTrigger[] {
  const make = (suffix: string, when: string, body: string): CaptureTrigger => {
    const name = captureTriggerPrefix(tableId) + suffix;
    return { name, sql: `CREATE TRIGGER ${quoteIdentifier(name)} ${when} BEGIN ${body} END` };
  };
  const on = `ON ${quoteIdentifier(table.name)}`;
  const keyColumns = table.key.map((position) => columnAt(table, position));
  const log = (row: "NEW" | "OLD") => logEntry(tableId, keyColumns.map((column) => `${row}.${column.sql}`));
  const moved = keyColumns.map((column, i) => `${keyTermSql(table, i, "OLD")} IS NOT NEW.${column.sql}`).join(
    " OR ",
  );
  const triggers = [
    make("insert", `AFTER INSERT ${on}`, log("NEW")),
    make("update", `AFTER UPDATE ${on}`, log("NEW")),
    make("key", `AFTER UPDATE ${on} WHEN ${moved}`, log("OLD")),
    make("delete", `AFTER DELETE ${on}`, log("OLD")),
  ];
  const itself = keyColumns.map((column, i) => `${keyTermSql(table, i)} IS OLD.${column.sql}`).join(" AND ");
  const logVictims = (condition: string) => logVictim(table, tableId, condition);
  const logOthers = (condition: string) => logVictim(table, tableId, `${condition} AND NOT (${itself})`);
  if (table.uniqueIndexes.length > 0) {
    const victims = table.uniqueIndexes.map((index) => clashCondition(table, index));
    const ofColumns = updatedColumns(table);
    triggers.push(
      make("before_insert", `BEFORE INSERT ${on}`, victims.map(logVictims).join(" ")),
      make("before_update", `BEFORE UPDATE${ofColumns} ${on}`, victims.map(logOthers).join(" ")),
    );
  }
  if (table.keyKind === "declared" && table.rowidName !== null) {
    const { rowidName } = table;
    const hasRowid = `${rowidName} = NEW.${rowidName}`;
    const isMoved = `NEW.${rowidName} <> OLD.${rowidName}`;
    triggers.push(
      make("rowid_insert", `BEFORE INSERT ${on}`, logVictims(hasRowid)),
      make("rowid_update", `BEFORE UPDATE ${on} WHEN ${isMoved}`, logOthers(hasRowid)),
    );
  }
  return triggers;
}

function logEntry(tableId: number, key: readonly string[]): string {
  const columns = key.map((_, i) => `, k${i}`).join("");
  return `INSERT INTO ${CHANGE_LOG} (table_id${columns}) VALUES (${tableId}, ${key.join(", ")});`;
}

function logVictim(table: TableSchema, tableId: number, condition: string): string {
  const keyColumns = table.key.map((position) => columnAt(table, position).sql);
  const columns = keyColumns.map((_, i) => `, k${i}`).join("");
  return `INSERT INTO ${CHANGE_LOG} (table_id, kind${columns}) ` +
    `SELECT ${tableId}, ${entryKinds.victim}, ${keyColumns.join(", ")} FROM ${
      quoteIdentifier(table.name)
    } AS ${ROW} WHERE ${condition};`;
}

/** The condition on a row that the new row removes under REPLACE because of an index. */
function clashCondition(table: TableSchema, index: UniqueIndex): string {
  if (index.positions) {
    return index.positions.map((position, i) => {
      const column = columnAt(table, position);
      return `${column.sql} COLLATE ${quoteIdentifier(index.collations[i] ?? "BINARY")} = ${
        newValue(column)
      }`;
    }).join(" AND ");
  }
  const row = `SELECT ${newRow(table, index)}`;
  const where = index.where === null ? "" : ` WHERE ${index.where}`;
  const terms = index.terms.map((term, i) =>
    `${term} COLLATE ${
      quoteIdentifier(index.collations[i] ?? "BINARY")
    } = (SELECT ${term} FROM (${row})${where})`
  );
  return [...(index.where === null ? [] : [`(${index.where})`]), ...terms].join(" AND ");
}

/**
 * The row to come under the names of the columns that the index's own expressions may mean; no others, because
 * SQLite refuses to drop a column that a trigger names.
 */
function newRow(table: TableSchema, index: UniqueIndex): string {
  const words = wordsOf([...index.terms, index.where ?? ""].join(" "));
  const stored = table.columns.filter((column) => column.name !== null && words.has(foldName(column.name)));
  const generated = table.generatedColumns.filter((name) => words.has(foldName(name)));
  const columns = [
    ...stored.map((column) => `${newValue(column)} AS ${column.sql}`),
    ...generated.map((name) => `NEW.${quoteIdentifier(name)} AS ${quoteIdentifier(name)}`),
  ];
  return columns.length === 0 ? "1" : columns.join(", ");
}

/** INSERT OR REPLACE turns NULL into the default of a NOT NULL column before it looks for clashes. */
function newValue(column: Column): string {
  const value = `NEW.${column.sql}`;
  return column.isNotNull && column.defaultSql !== null ? `coalesce(${value}, ${column.defaultSql})` : value;
}

/** Expressions can use any column; plain indexes name theirs, so that other updates cost nothing. */
function updatedColumns(table: TableSchema): string {
  if (table.uniqueIndexes.some((index) => index.positions === null)) return "";
  const positions = new Set(table.uniqueIndexes.flatMap((index) => index.positions ?? []));
  return ` OF ${[...positions].map((position) => columnAt(table, position).sql).join(", ")}`;
}
