/** Counts what the engine asks of SQLite, per database file: statements that are run, and transactions. */
import { Connection, Statement } from "../../src/db/connection.ts";

export interface Work {
  /** Statements run, those that only look whether anything is new left out. */
  statements: number;
  /** Rows that SELECTs gave. */
  rowsRead: number;
  writeTransactions: number;
  readTransactions: number;
}

/** Looks whether another connection has committed, or changed the schema: they come with time, not with rows. */
const LOOKS = /^PRAGMA (data_version|schema_version)/;

export class WorkCounter implements Disposable {
  readonly #work = new Map<string, Work>();
  readonly #undo: (() => void)[] = [];

  /** Counts from now on, until it is disposed of. One at a time. */
  constructor() {
    const workOf = (path: string) => this.of(path);
    const paths = new WeakMap<Statement, string>();
    this.#replace(Connection.prototype, "statement", (statement) =>
      function (this: Connection, sql: string) {
        const found = statement.call(this, sql);
        if (!LOOKS.test(sql)) paths.set(found, this.path);
        return found;
      });
    for (const name of ["all", "get", "run", "iterate"] as const) {
      this.#replace(Statement.prototype, name, (run) =>
        function (this: Statement, ...parameters: unknown[]) {
          const path = paths.get(this);
          const result = (run as (...parameters: unknown[]) => unknown).apply(this, parameters);
          if (path === undefined) return result;
          const work = workOf(path);
          work.statements++;
          if (name === "all") work.rowsRead += (result as unknown[]).length;
          if (name === "get" && result !== undefined) work.rowsRead++;
          return result;
        } as never);
    }
    for (const [name, count] of [["write", "writeTransactions"], ["read", "readTransactions"]] as const) {
      this.#replace(
        Connection.prototype,
        name,
        (transaction) =>
          function (this: Connection, work: () => unknown) {
            workOf(this.path)[count]++;
            return (transaction as (work: () => unknown) => unknown).call(this, work);
          } as never,
      );
    }
  }

  /** What was done to this file so far. */
  of(path: string): Work {
    let work = this.#work.get(path);
    if (!work) {
      work = { statements: 0, rowsRead: 0, writeTransactions: 0, readTransactions: 0 };
      this.#work.set(path, work);
    }
    return work;
  }

  /** Begins again. */
  reset(): void {
    this.#work.clear();
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo.reverse()) undo();
  }

  #replace<T extends object, K extends keyof T>(target: T, name: K, make: (original: T[K]) => T[K]): void {
    const original = target[name];
    target[name] = make(original);
    this.#undo.push(() => target[name] = original);
  }
}
