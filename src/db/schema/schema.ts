/**
 * The local schema as replication sees it: which tables there are, their columns, their key, and what is UNIQUE
 * besides the key. Read from SQLite's own pragmas, never guessed from SQL text (but for expressions of indexes).
 */
import { fnv1 } from "../../wire/fnv.ts";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { foldName, isQuotedName, isReservedName, quoteIdentifier, unquoteName } from "./identifiers.ts";
import { parseIndexDefinition } from "./index_definition.ts";

export interface Column {
  /** null for the rowid of a table that has no key of its own. */
  readonly name: string | null;
  /** The column in SQL, quoted. */
  readonly sql: string;
  readonly declaredType: string;
  readonly isNotNull: boolean;
  /** The DEFAULT as SQL text, null without one. */
  readonly defaultSql: string | null;
}

/** How rows are told apart. "alias": INTEGER PRIMARY KEY; "declared": another primary key; "rowid": none declared. */
export type KeyKind = "alias" | "declared" | "rowid";

export interface UniqueIndex {
  readonly name: string;
  /** The indexed columns or expressions as SQL. */
  readonly terms: readonly string[];
  readonly collations: readonly string[];
  /** Positions of the terms in the table's columns; null if a term is an expression or a generated column. */
  readonly positions: readonly number[] | null;
  /** The WHERE of a partial index. */
  readonly where: string | null;
}

export interface TableSchema {
  readonly name: string;
  /** The replicated columns: all but generated ones, in declared order; first the rowid where that is the key. */
  readonly columns: readonly Column[];
  /** The key: positions in `columns`. */
  readonly key: readonly number[];
  readonly keyKind: KeyKind;
  readonly keyCollations: readonly string[];
  /** A name by which SQL reaches the rowid; null where there is none. */
  readonly rowidName: string | null;
  /** Names of the generated columns, which are never written. */
  readonly generatedColumns: readonly string[];
  /** What is UNIQUE besides the key. */
  readonly uniqueIndexes: readonly UniqueIndex[];
  readonly uniqueSignature: string;
  /** The CREATE TABLE statement. */
  readonly sql: string;
}

/** A table that cannot be replicated, and why. */
export interface ExcludedTable {
  readonly name: string;
  readonly reason: string;
}

export interface LocalSchema {
  readonly tables: readonly TableSchema[];
  readonly excluded: readonly ExcludedTable[];
}

/**
 * A key column for comparisons, of the table's row or of a trigger's, under the key's own collation: the
 * column's may be another one.
 */
export function keyTermSql(table: TableSchema, index: number, row?: string): string {
  const column = table.columns[table.key[index] ?? -1];
  if (!column) throw new RangeError(`the key of table ${table.name} has no column at ${index}`);
  const term = row ? `${row}.${column.sql}` : column.sql;
  if (table.keyKind !== "declared") return term;
  return `${term} COLLATE ${quoteIdentifier(table.keyCollations[index] ?? "BINARY")}`;
}

/** A number that moves with each change of the schema. Source: https://www.sqlite.org/pragma.html#pragma_schema_version */
export function readSchemaVersion(connection: Connection): number {
  return connection.integer("PRAGMA schema_version");
}

/** Reads the schema of all tables that can be replicated. Virtual tables and their shadow tables are not among them. */
export function readSchema(connection: Connection): LocalSchema {
  const tables: TableSchema[] = [];
  const excluded: ExcludedTable[] = [];
  const listed = connection.statement(
    "SELECT l.name, l.wr, s.sql FROM pragma_table_list AS l JOIN main.sqlite_schema AS s ON s.type = 'table' AND s.name = l.name " +
      "WHERE l.schema = 'main' AND l.type = 'table' ORDER BY l.name",
  ).all();
  for (const row of listed) {
    const name = String(row[0]);
    if (isReservedName(name)) continue;
    const table = readTable(connection, { name, isWithoutRowid: row[1] === 1n, sql: String(row[2]) });
    if (table) tables.push(table);
    else excluded.push({ name, reason: "it has no primary key and its columns hide the rowid" });
  }
  return { tables, excluded };
}

interface ListedTable {
  readonly name: string;
  readonly isWithoutRowid: boolean;
  readonly sql: string;
}

function readTable(connection: Connection, listed: ListedTable): TableSchema | undefined {
  const info = connection.statement(
    `SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid`,
  ).all([listed.name]);
  const taken = new Set(info.map((row) => foldName(String(row[0]))));
  const rowidName = listed.isWithoutRowid
    ? null
    : ["rowid", "_rowid_", "oid"].find((n) => !taken.has(n)) ?? null;
  const stored = info.filter((row) => row[5] === 0n);
  const declared = stored.filter((row) => row[4] !== 0n).sort((a, b) => Number(a[4]) - Number(b[4]));
  const indexes = readIndexes(connection, listed.name);
  const keyIndex = indexes.find((index) => index.origin === "pk");

  const columns = stored.map(readColumn);
  let key: number[];
  let keyKind: KeyKind;
  if (declared.length > 0) {
    key = declared.map((row) => stored.indexOf(row));
    keyKind = keyIndex || listed.isWithoutRowid ? "declared" : "alias";
  } else {
    if (rowidName === null) return undefined;
    columns.unshift({
      name: null,
      sql: rowidName,
      declaredType: "INTEGER",
      isNotNull: true,
      defaultSql: null,
    });
    key = [0];
    keyKind = "rowid";
  }
  const uniqueIndexes = indexes
    .filter((index) => index.isUnique && index.origin !== "pk")
    .map((index) => readUniqueIndex(connection, index, columns));
  return {
    name: listed.name,
    columns,
    key,
    keyKind,
    keyCollations: key.map((position) => keyIndex?.collations.get(columns[position]?.name ?? "") ?? "BINARY"),
    rowidName,
    generatedColumns: info.filter((row) => row[5] === 2n || row[5] === 3n).map((row) => String(row[0])),
    uniqueIndexes,
    uniqueSignature: signatureOf(uniqueIndexes),
    sql: listed.sql,
  };
}

function readColumn(row: readonly Value[]): Column {
  const name = String(row[0]);
  return {
    name,
    sql: quoteIdentifier(name),
    declaredType: String(row[1]),
    isNotNull: row[2] !== 0n,
    defaultSql: row[3] === null ? null : defaultExpression(String(row[3])),
  };
}

/** A DEFAULT as an expression for anywhere: a name there, quoted or bare, is text to SQLite and not a column. */
function defaultExpression(sql: string): string {
  const isKeyword = /^(null|true|false|current_(date|time|timestamp))$/i.test(sql);
  const isBareName = /^[A-Z_\u0080-\u{10FFFF}][\w$\u0080-\u{10FFFF}]*$/iu.test(sql);
  if (isKeyword || !(isBareName || isQuotedName(sql))) return sql;
  return `'${unquoteName(sql).replaceAll("'", "''")}'`;
}

interface ListedIndex {
  readonly name: string;
  readonly isUnique: boolean;
  readonly origin: string;
  /** Collation by column name. */
  readonly collations: ReadonlyMap<string, string>;
}

function readIndexes(connection: Connection, table: string): ListedIndex[] {
  return connection.statement(`SELECT name, "unique", origin FROM pragma_index_list(?)`).all([table]).map(
    (row) => {
      const terms = readIndexTerms(connection, String(row[0]));
      const collations = new Map(terms.map((term) => [term.column ?? "", term.collation]));
      return { name: String(row[0]), isUnique: row[1] !== 0n, origin: String(row[2]), collations };
    },
  );
}

function readIndexTerms(
  connection: Connection,
  index: string,
): { column: string | null; collation: string }[] {
  return connection.statement("SELECT name, coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno")
    .all([index])
    .map((row) => ({ column: row[0] === null ? null : String(row[0]), collation: String(row[1]) }));
}

function readUniqueIndex(
  connection: Connection,
  index: ListedIndex,
  columns: readonly Column[],
): UniqueIndex {
  const terms = readIndexTerms(connection, index.name);
  const sql = connection.statement("SELECT sql FROM main.sqlite_schema WHERE type = 'index' AND name = ?")
    .get([index.name]);
  const definition = typeof sql?.[0] === "string" ? parseIndexDefinition(sql[0]) : { terms: [], where: null };
  const positions = terms.map((term) =>
    columns.findIndex((column) => column.name !== null && column.name === term.column)
  );
  return {
    name: index.name,
    terms: terms.map((term, i) =>
      term.column === null ? `(${definition.terms[i] ?? "NULL"})` : quoteIdentifier(term.column)
    ),
    collations: terms.map((term) => term.collation),
    positions: definition.where === null && !positions.includes(-1) ? positions : null,
    where: definition.where,
  };
}

/** Equal at two nodes exactly if their tables have the same UNIQUE indexes, whatever these are called. */
function signatureOf(indexes: readonly UniqueIndex[]): string {
  if (indexes.length === 0) return "";
  const canonical = indexes.map((index) => JSON.stringify([index.terms, index.collations, index.where]))
    .sort().join("\n");
  return fnv1(new TextEncoder().encode(canonical)).toString(16);
}
