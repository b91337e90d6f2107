/**
 * Arming: every replicated table gets its capture triggers, again after each change of schema. What the
 * application did to its schema is read off the triggers, which SQLite keeps with their table through RENAME and drops
 * with it: a known table without them had an uncaptured window.
 */
import { errorText } from "../../errors.ts";
import { ArmedTable, type SuspendedTrigger } from "../rows/armed_tables.ts";
import type { TriggerPolicy } from "./authorizer.ts";
import { captureSignature, captureTriggers, tableIdOfTrigger } from "./capture_triggers.ts";
import type { ChangeLog } from "./change_log.ts";
import { hasChangesBehind } from "./pause.ts";
import { keyOrderOf } from "../rows/key_ranges.ts";
import type { DueImages } from "../state/due_images.ts";
import type { Connection } from "../connection.ts";
import { foldName, quoteIdentifier } from "../schema/identifiers.ts";
import {
  type KnownTable,
  noteColumns,
  readKnownTables,
  tellableNames,
  writeKnownTable,
} from "../schema/known_tables.ts";
import { readMeta, writeMeta } from "../state/meta.ts";
import { backfillRenumbered, noteHighestRowid } from "./rowid_keys.ts";
import { type ExcludedTable, readSchema, readSchemaVersion, type TableSchema } from "../schema/schema.ts";
import { widenChangeLog } from "../state/state_tables.ts";

export interface ArmingReport {
  readonly tables: ArmedTable[];
  /** Tables that cannot be replicated. */
  readonly excluded: ExcludedTable[];
  /** Tables that are new since the first start: their rows are backfill. */
  readonly appeared: string[];
  /** Known tables whose triggers were missing: an image of each is due. */
  readonly uncaptured: string[];
  /** Tables without a key whose rows VACUUM has renumbered: their rows are backfill. */
  readonly renumbered: string[];
  readonly dropped: string[];
  /** Pairs of former and present name. */
  readonly renamed: [string, string][];
  /** Ids of tables that gained columns: what is not settled goes out again. */
  readonly gainedColumns: number[];
  /** Ids of tables whose UNIQUE indexes changed: their rows are backfill. */
  readonly uniqueChanged: number[];
}

interface Arming {
  readonly connection: Connection;
  readonly log: ChangeLog;
  readonly images: DueImages;
  readonly hasImages: boolean;
  readonly report: ArmingReport;
  readonly known: KnownTable[];
  /** Names of the capture triggers of each table id, and the table they are on. */
  readonly triggers: ReadonlyMap<number, { tableName: string; names: Set<string> }>;
  readonly isFirst: boolean;
  /** Whether the schema may have moved since the tables were armed last, in this life of the process or before. */
  readonly hasMoved: boolean;
  readonly nowMs: number;
  /** The highest log id from before the pause that has just ended. */
  readonly pauseTop: number | undefined;
}

/** Arms all tables. Call in a write transaction; the statements that were kept before are of no use after it. */
export function armTables(
  connection: Connection,
  { log, images, hasImages, policy, nowMs, pauseTop }: {
    log: ChangeLog;
    images: DueImages;
    /** Whether images can be published; else only the rows of a table can, as backfill. */
    hasImages: boolean;
    policy: TriggerPolicy;
    nowMs: number;
    /** See closePause; undefined where there was no pause. */
    pauseTop: number | undefined;
  },
): ArmingReport {
  const { tables, excluded } = readSchema(connection);
  widenChangeLog(connection, Math.max(1, ...tables.map((table) => table.key.length)));
  const report: ArmingReport = {
    tables: [],
    excluded: [...excluded],
    appeared: [],
    uncaptured: [],
    renumbered: [],
    dropped: [],
    renamed: [],
    gainedColumns: [],
    uniqueChanged: [],
  };
  const isFirst = readMeta(connection, "is_armed") === undefined;
  const hasMoved = readMeta(connection, "armed_schema") !== BigInt(readSchemaVersion(connection));
  const arming: Arming = {
    connection,
    log,
    images,
    hasImages,
    report,
    known: readKnownTables(connection),
    triggers: readTriggers(connection),
    isFirst,
    hasMoved,
    nowMs,
    pauseTop,
  };
  policy.setReplicated(tables.map((table) => table.name));
  const sqlOfTriggers = readTriggerSql(connection);
  const seen = new Set<KnownTable>();
  for (const schema of tables) {
    const known = findKnown(arming, schema) ?? newKnownTable(arming, schema);
    seen.add(known);
    const table = new ArmedTable(connection, schema, known);
    try {
      table.suspendedTriggers = findSuspended(table, policy, sqlOfTriggers);
    } catch (error) {
      report.excluded.push({
        name: schema.name,
        reason: `its statements do not compile: ${errorText(error)}`,
      });
      dropTriggers(arming, known.id);
      continue;
    }
    armTable(arming, { schema, known });
    if (schema.keyKind === "rowid") noteHighestRowid(connection, schema, known);
    report.tables.push(table);
  }
  for (const known of arming.known) if (!known.isDropped && !seen.has(known)) forgetTable(arming, known);
  if (isFirst) writeMeta(connection, "is_armed", 1n);
  writeMeta(connection, "armed_schema", BigInt(readSchemaVersion(connection)));
  connection.forgetStatements();
  log.forgetStatements();
  policy.setReplicated(report.tables.map((table) => table.schema.name));
  for (const table of report.tables) {
    table.clashes.prepare();
    table.formerNames = tellableNames(arming.known, table.identity);
  }
  return report;
}

function armTable(arming: Arming, { schema, known }: { schema: TableSchema; known: KnownTable }): void {
  const { connection } = arming;
  const existing = arming.triggers.get(known.id);
  const wanted = captureTriggers(schema, known.id);
  const isCaptured = existing !== undefined && foldName(existing.tableName) === foldName(schema.name);
  const isComplete = isCaptured && wanted.every((trigger) => existing.names.has(trigger.name)) &&
    existing.names.size === wanted.length && known.memory.captureSignature === captureSignature(schema);
  if (!isComplete) {
    dropTriggers(arming, known.id);
    for (const trigger of wanted) connection.exec(trigger.sql);
  }
  noteChanges(arming, {
    schema,
    table: known,
    isNew: known.memory.captureSignature === "" || known.isDropped,
    isCaptured,
  });
  writeKnownTable(connection, known);
}

interface Noted {
  readonly schema: TableSchema;
  readonly table: KnownTable;
  readonly isNew: boolean;
  readonly isCaptured: boolean;
}

function noteChanges(arming: Arming, { schema, table, isNew, isCaptured: hasTriggers }: Noted): void {
  const { report } = arming;
  const isCaptured = hasTriggers && !isReplaceUnseen(arming, { schema, table });
  const columns = schema.columns.map((column) => column.name);
  const gained = noteColumns(table.memory, columns, schema.columns.map((column) => column.declaredType));
  const uniqueChanged = table.memory.uniqueSignature !== schema.uniqueSignature;
  table.memory.captureSignature = captureSignature(schema);
  table.memory.uniqueSignature = schema.uniqueSignature;
  noteKeyOrder(table, keyOrderOf(schema));
  if (foldName(table.name) !== foldName(schema.name)) {
    report.renamed.push([table.name, schema.name]);
    table.memory.formerNames = [...new Set([...table.memory.formerNames, table.name])];
  }
  table.name = schema.name;
  table.isDropped = false;
  delete table.memory.droppedAtMs;
  if (isNew) {
    if (arming.isFirst) return;
    report.appeared.push(schema.name);
    arming.log.backfill(schema, table.id);
    return;
  }
  if (gained) report.gainedColumns.push(table.id);
  if (uniqueChanged) report.uniqueChanged.push(table.id);
  if (!isCaptured) {
    report.uncaptured.push(schema.name);
    if (arming.hasImages) arming.images.begin(table.id);
  } else if (
    schema.keyKind === "rowid" && arming.hasMoved &&
    backfillRenumbered(arming.connection, arming.log, { schema, table })
  ) {
    report.renumbered.push(schema.name);
  }
  const isImageDue = arming.images.get(table.id) !== undefined;
  if (isImageDue && !arming.hasImages) arming.images.drop(table.id);
  const isBackfill = isImageDue ? !arming.hasImages : !isCaptured;
  if (isBackfill || (uniqueChanged && schema.uniqueSignature !== "" && isCaptured)) {
    arming.log.backfill(schema, table.id);
  }
}

/** Whether REPLACE may have removed rows of a UNIQUE table in a pause: the triggers that tell were away. */
function isReplaceUnseen(
  { connection, pauseTop }: Arming,
  { schema, table }: Pick<Noted, "schema" | "table">,
): boolean {
  return pauseTop !== undefined && schema.uniqueSignature + table.memory.uniqueSignature !== "" &&
    hasChangesBehind(connection, table.id, pauseTop);
}

/** Pieces of table images that were made under a former order of the key say nothing about deletions any more. */
function noteKeyOrder({ memory }: KnownTable, keyOrder: string): void {
  const { keyOrder: before, formerKeyOrders = [] } = memory;
  if (before !== undefined && before !== keyOrder) {
    memory.formerKeyOrders = [...new Set([...formerKeyOrders, before])];
  }
  memory.keyOrder = keyOrder;
}

/** The known table behind a name: the one whose triggers are on it, unless its name belongs to an older one. */
function findKnown(arming: Arming, schema: TableSchema): KnownTable | undefined {
  const folded = foldName(schema.name);
  const byTrigger = arming.known.find((known) => {
    const triggers = arming.triggers.get(known.id);
    return triggers !== undefined && foldName(triggers.tableName) === folded;
  });
  // One whose triggers are on another table was renamed: this one only took its name.
  const byName = arming.known.findLast((known) =>
    foldName(known.name) === folded && !isElsewhere(arming, known, folded)
  );
  if (!byTrigger || !byName || byTrigger === byName) return byTrigger ?? byName;
  // A table was rebuilt: the new one took the old one's name, and what was captured on both belongs together.
  arming.log.moveEntries(byTrigger.id, byName.id);
  byName.isDropped = false;
  byTrigger.isDropped = true;
  writeKnownTable(arming.connection, byTrigger);
  dropTriggers(arming, byTrigger.id);
  return byName;
}

function isElsewhere(arming: Arming, known: KnownTable, folded: string): boolean {
  const triggers = arming.triggers.get(known.id);
  return triggers !== undefined && foldName(triggers.tableName) !== folded;
}

function newKnownTable(arming: Arming, schema: TableSchema): KnownTable {
  const table: KnownTable = {
    id: Math.max(0, ...arming.known.map((known) => known.id)) + 1,
    name: schema.name,
    isDropped: false,
    memory: {
      columns: schema.columns.map((column) => column.name),
      types: schema.columns.map((column) => column.declaredType),
      captureSignature: "",
      uniqueSignature: schema.uniqueSignature,
      renamedColumns: {},
      droppedColumns: [],
      formerNames: [],
    },
  };
  arming.known.push(table);
  return table;
}

function forgetTable(arming: Arming, known: KnownTable): void {
  known.isDropped = true;
  known.memory.droppedAtMs = arming.nowMs;
  writeKnownTable(arming.connection, known);
  arming.log.dropEntries(known.id);
  arming.images.drop(known.id);
  arming.report.dropped.push(known.name);
}

function readTriggers(connection: Connection): Map<number, { tableName: string; names: Set<string> }> {
  const byTable = new Map<number, { tableName: string; names: Set<string> }>();
  const rows = connection.statement("SELECT name, tbl_name FROM main.sqlite_schema WHERE type = 'trigger'")
    .all();
  for (const [name, tableName] of rows) {
    const id = tableIdOfTrigger(String(name));
    if (id === undefined) continue;
    const entry = byTable.get(id) ?? { tableName: String(tableName), names: new Set() };
    entry.names.add(String(name));
    byTable.set(id, entry);
  }
  return byTable;
}

/** The application's triggers that must not run while Marmot writes to the table. Throws where it cannot be written. */
function findSuspended(
  table: ArmedTable,
  policy: TriggerPolicy,
  sqlOf: ReadonlyMap<string, string>,
): SuspendedTrigger[] {
  const recording = policy.record(() => table.rows.compileWrites());
  return [...recording.reached]
    .filter((name) => tableIdOfTrigger(name) === undefined)
    .map((name) => ({ name, sql: sqlOf.get(name) ?? "" }))
    .filter(({ name, sql }) => sql !== "" && (recording.deleting.has(name) || containsRaise(sql)));
}

function readTriggerSql(connection: Connection): Map<string, string> {
  const rows = connection.statement("SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger'").all();
  return new Map(rows.map((row) => [String(row[0]), String(row[1])]));
}

function dropTriggers(arming: Arming, tableId: number): void {
  for (const name of arming.triggers.get(tableId)?.names ?? []) {
    arming.connection.exec(`DROP TRIGGER IF EXISTS ${quoteIdentifier(name)}`);
  }
}

/** Whether a trigger can RAISE; text in quotes that looks like it only costs speed. */
function containsRaise(sql: string): boolean {
  return /\braise\s*\(/i.test(sql);
}
