/** Reads a database for the checks, with statements that are compiled once: they run thousands of times in a history. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { valueText } from "./stream_reading.ts";
import type { SimulatedTable } from "./tables.ts";

export class DatabaseReader {
  readonly #statements = new Map<string, StatementSync>();
  readonly #columns = new Map<string, string>();

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
    this.#columns.clear();
  }

  /** What the tables hold, exact, as one text per table: equal texts mean equal content. */
  dump(tables: readonly SimulatedTable[]): Map<string, string> {
    return new Map(tables.map((table) => {
      const lines = this.rows(`SELECT ${this.columnsOf(table)} FROM ${table.name}`).map((row) =>
        row.map(valueText).join(", ")
      );
      return [table.name, lines.sort().join("\n")];
    }));
  }

  /** All columns of a table, the key first, then by name: schema changes come in any order. */
  columnsOf({ name, key }: SimulatedTable): string {
    let columns = this.#columns.get(name);
    if (columns === undefined) {
      const others = this.rows("SELECT name FROM pragma_table_info(?) ORDER BY name", [name]).map((
        [column],
      ) => String(column));
      columns = [...key, ...others.filter((column) => !key.includes(column))].join(", ");
      this.#columns.set(name, columns);
    }
    return columns;
  }
}
