/** What a database holds, exact: storage classes and bytes of every value of every replicated table. */
import { DatabaseSync } from "node:sqlite";

const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** One text per table name; equal texts mean equal content. Marmot's and SQLite's own tables are left out. */
export function dumpTables(database: DatabaseSync, only?: readonly string[]): Map<string, string> {
  const names = database.prepare(
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' " +
      "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
  ).all().map((row) => String(row["name"]));
  return new Map(
    names.filter((name) => !only || only.includes(name)).map((name) => [name, dumpTable(database, name)]),
  );
}

/** The schema without Marmot's objects, one CREATE statement a line. */
export function dumpSchema(database: DatabaseSync): string {
  return database.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").all()
    .map((row) => Object.values(row).join(" | ")).join("\n");
}

function dumpTable(database: DatabaseSync, table: string): string {
  const info = database.prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?)").all(table);
  const names = info.map((row) => String(row["name"]));
  const columns = names.map(quote);
  const hasKey = info.some((row) => row["pk"] !== 0);
  const folded = new Set(names.map((name) => name.toLowerCase()));
  if (!hasKey) {
    const rowid = ["rowid", "_rowid_", "oid"].find((name) => !folded.has(name));
    if (rowid) columns.unshift(rowid);
  }
  const lines: string[][] = [];
  for (let at = 0; at < columns.length; at += 300) {
    const slice = columns.slice(at, at + 300);
    const selected = slice.map((c) =>
      `typeof(${c}), CASE typeof(${c}) WHEN 'text' THEN hex(CAST(${c} AS BLOB)) WHEN 'blob' THEN hex(${c}) ELSE ${c} END`
    );
    const statement = database.prepare(
      `SELECT ${selected.join(", ")} FROM ${quote(table)} ORDER BY ${orderOf(columns)}`,
    );
    statement.setReadBigInts(true);
    statement.setReturnArrays(true);
    for (const [i, row] of (statement.all() as unknown as unknown[][]).entries()) {
      (lines[i] ??= []).push(...row.map(textOf));
    }
  }
  return lines.map((line) => line.join(",")).join("\n");
}

function orderOf(columns: readonly string[]): string {
  return columns.slice(0, 200).map((column) => `typeof(${column}), ${column} COLLATE BINARY`).join(", ");
}

function textOf(value: unknown): string {
  if (typeof value !== "number") return String(value);
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setFloat64(0, value);
  return bytes.getBigUint64(0).toString(16);
}
