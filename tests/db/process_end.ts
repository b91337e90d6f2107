/**
 * What a process leaves that ends in the middle of its work on a database: the files as they stand on the disk then, with
 * whatever of an open transaction SQLite has written to them by that moment.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Connection } from "../../src/db/connection.ts";

/** Calls `onPoint` before each statement that the connection runs from now on, BEGIN and COMMIT included. */
export function watchStatements(connection: Connection, onPoint: () => void): void {
  const statement = connection.statement.bind(connection);
  const exec = connection.exec.bind(connection);
  connection.statement = (sql) => {
    onPoint();
    return statement(sql);
  };
  connection.exec = (sql) => {
    onPoint();
    exec(sql);
  };
}

/** Does the work, and keeps what would be left had the process ended at any point of it. */
export class LeftBehind implements Disposable {
  /** Copies of the database: before each statement of the work, in order. */
  readonly inside: string[] = [];
  /** Behind the work. */
  readonly behind: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "marmot-end-"));

  constructor(connection: Connection, work: () => void) {
    // Else the pages of a small transaction stay in memory up to its COMMIT.
    connection.exec("PRAGMA cache_size = 1");
    let isWorking = true;
    watchStatements(connection, () => void (isWorking && this.inside.push(this.#copy(connection.path))));
    work();
    isWorking = false;
    this.behind = this.#copy(connection.path);
  }

  /** The index of the other processes is left out: who opens a database whose users have all ended makes it anew. */
  #copy(path: string): string {
    const to = join(this.#folder, `${this.inside.length}.db`);
    for (const ending of ["", "-wal"]) {
      if (existsSync(path + ending)) copyFileSync(path + ending, to + ending);
    }
    return to;
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true });
  }
}

/** Every object of a database, and every row of every table, Marmot's included. */
export function contentOf(path: string): Record<string, unknown> {
  using database = new DatabaseSync(path);
  const read = (sql: string) => {
    const statement = database.prepare(sql);
    statement.setReadBigInts(true);
    return statement.all();
  };
  const objects = read("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name");
  const tables = objects.filter(({ type }) => type === "table").map(({ name }) => String(name));
  const rows = tables.map((name) => [name, read(`SELECT * FROM "${name.replaceAll('"', '""')}"`)]);
  return { objects, ...Object.fromEntries(rows) };
}
