/**
 * What is remembered of every table that was ever armed, so that an older event that names a dropped or renamed
 * table or column can still be applied: without it, or under the new name.
 */
import type { Connection } from "../connection.ts";
import { foldName } from "./identifiers.ts";

/** Kept as JSON in __marmot__table.memory; its shape is a compatibility constant. */
export interface TableMemory {
  /** Names of the replicated columns when last armed, null for the rowid. */
  columns: (string | null)[];
  /** Declared types of these. */
  types: string[];
  /** captureSignature of the triggers when last armed. */
  captureSignature: string;
  /** uniqueSignature of the table when last armed. */
  uniqueSignature: string;
  /** Former names of columns and what they are called now. */
  renamedColumns: Record<string, string>;
  droppedColumns: string[];
  /** keyOrderOf the table when last armed, and those that it had before. */
  keyOrder?: string;
  formerKeyOrders?: string[];
  /** Names that the table had before. */
  formerNames: string[];
  /** Of a table that is keyed by its rowid: the highest rowid when last looked at. */
  highestRowid?: number;
  /** When the table was found missing, in milliseconds since 1970; left out for one that is there. */
  droppedAtMs?: number;
}

export interface KnownTable {
  readonly id: number;
  name: string;
  isDropped: boolean;
  memory: TableMemory;
}

export function readKnownTables(connection: Connection): KnownTable[] {
  return connection.statement("SELECT id, name, is_dropped, memory FROM __marmot__table ORDER BY id").all()
    .map((row) => ({
      id: Number(row[0]),
      name: String(row[1]),
      isDropped: row[2] !== 0n,
      memory: JSON.parse(String(row[3])),
    }));
}

export function writeKnownTable(connection: Connection, table: KnownTable): void {
  connection.statement(
    "INSERT INTO __marmot__table (id, name, is_dropped, memory) VALUES (?, ?, ?, ?) " +
      "ON CONFLICT (id) DO UPDATE SET name = excluded.name, is_dropped = excluded.is_dropped, memory = excluded.memory",
  ).run([BigInt(table.id), table.name, table.isDropped ? 1n : 0n, JSON.stringify(table.memory)]);
}

/** Notes what became of the columns: which were renamed, which were dropped. Returns whether columns came. */
export function noteColumns(memory: TableMemory, columns: (string | null)[], types: string[]): boolean {
  const before = memory.columns;
  const renamed = findRenamed(memory, columns, types);
  for (const [from, to] of renamed) {
    for (const [old, now] of Object.entries(memory.renamedColumns)) {
      if (now === from) memory.renamedColumns[old] = to;
    }
    memory.renamedColumns[from] = to;
  }
  const here = new Set(columns);
  const gone = before.filter((name): name is string =>
    name !== null && !here.has(name) && !renamed.has(name)
  );
  // Former names of a column go with it: a new one of its last name is another column.
  const former = Object.keys(memory.renamedColumns).filter((name) =>
    gone.includes(memory.renamedColumns[name] ?? "")
  );
  for (const name of Object.keys(memory.renamedColumns)) {
    if (here.has(name) || former.includes(name)) delete memory.renamedColumns[name];
  }
  memory.droppedColumns = [...new Set([...memory.droppedColumns, ...gone, ...former])]
    .filter((name) => !here.has(name));
  const known = new Set([...before, ...renamed.values()]);
  memory.columns = columns;
  memory.types = types;
  return columns.some((name) => !known.has(name));
}

/**
 * RENAME COLUMN keeps position and type; the old names are gone and the new ones were not there. ADD COLUMN comes behind
 * them. A last column that was dropped while another of its type was added, both unseen, is taken for a renamed one.
 */
function findRenamed(memory: TableMemory, columns: (string | null)[], types: string[]): Map<string, string> {
  const renamed = new Map<string, string>();
  if (columns.length < memory.columns.length) return renamed;
  const before = new Set(memory.columns);
  const now = new Set(columns);
  for (let i = 0; i < memory.columns.length; i++) {
    const from = memory.columns[i];
    const to = columns[i];
    if (from === to) continue;
    if (typeof from !== "string" || typeof to !== "string") return new Map();
    if (now.has(from) || before.has(to) || types[i] !== memory.types[i]) return new Map();
    renamed.set(from, to);
  }
  return renamed;
}

/** The known table that a message means: by its present name, else the last one that was called so. */
export function findKnownTable(tables: readonly KnownTable[], name: string): KnownTable | undefined {
  const folded = foldName(name);
  const isNamed = (table: KnownTable) => foldName(table.name) === folded;
  return tables.find((table) => !table.isDropped && isNamed(table)) ??
    tables.findLast((table) =>
      table.memory.formerNames.some((former) => foldName(former) === folded) && !table.isDropped
    ) ??
    tables.findLast(isNamed);
}
