/** Reads a database for the checks, with statements that are compiled once: they run thousands of times in a history. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { valueText } from "./stream_reading.ts";
import type { SimulatedTable } from "./tables.ts";

export class DatabaseReader {
  readonly #statements = new Map<string, StatementSync>();

  constructor(readonly database: DatabaseSync) {}

  /** Rows as arrays, integers as bigint. */
  rows(sql: string, parameters: readonly unknown[] = []): unknown[][] {
    return this.statement(sql).all(...parameters as SQLInputValue[]) as unknown as unknown[][];
  }

  /** The first value of the first row. */
  value(sql: string, parameters: readonly unknown[] = []): unknown {
    return (this.statement(sql).get(...parameters as SQLInputValue[]) as unknown as unknown[] | undefined)
      ?.[0];
  }

  count(from: string): number {
    return Number(this.value(`SELECT count(*) FROM ${from}`));
  }

  statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.database.prepare(sql);
      statement.setReadBigInts(true);
      statement.setReturnArrays(true);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** To be called when a table got other columns. */
  forget(): void {
    this.#statements.clear();
  }

  /** What the tables hold, exact, as one text per table: equal texts mean equal content. */
  dump(tables: readonly SimulatedTable[]): Map<string, string> {
    return new Map(tables.map((table) => {
      const lines = this.rows(`SELECT ${columnsOf(table)} FROM ${table.name}`).map((row) =>
        row.map(valueText).join(", ")
      );
      return [table.name, lines.sort().join("\n")];
    }));
  }
}

/** All that a row has, with the rowid where that is the key. */
export function columnsOf(table: SimulatedTable): string {
  return table.key[0] === "rowid" ? "rowid, *" : "*";
}
