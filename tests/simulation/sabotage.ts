/** Faults inside Marmot's transactions: at a statement of its choice SQLite says that it is busy, or the process ends. */
import { DatabaseBusyError } from "../../src/errors.ts";
import type { Connection } from "../../src/db/connection.ts";
import type { TransactionPoint } from "./plan.ts";

/** Lets `strike` happen once, in the connection's next transaction that gets as far as the point. */
export class Sabotage {
  #at: TransactionPoint | undefined;
  #strike: () => void = () => {};
  #statements = 0;

  /** `onPoint` is called before every statement of a transaction, before COMMIT and behind it. */
  constructor(connection: Connection, onPoint: () => void = () => {}) {
    const statement = connection.statement.bind(connection);
    const exec = connection.exec.bind(connection);
    connection.statement = (sql) => {
      if (connection.isInTransaction) {
        onPoint();
        this.#reach(++this.#statements);
      }
      return statement(sql);
    };
    connection.exec = (sql) => {
      if (sql.startsWith("BEGIN")) this.#statements = 0;
      if (sql === "COMMIT") {
        onPoint();
        this.#reach("commit");
      }
      exec(sql);
      if (sql === "COMMIT") {
        onPoint();
        this.#reach("committed");
      }
    };
  }

  arm(at: TransactionPoint, strike: () => void): void {
    this.#at = at;
    this.#strike = strike;
  }

  disarm(): void {
    this.#at = undefined;
  }

  #reach(point: TransactionPoint): void {
    if (this.#at !== point) return;
    this.#at = undefined;
    this.#strike();
  }
}

/** What SQLite throws while another connection holds the lock. */
export function throwBusy(): never {
  throw new DatabaseBusyError(new Error("database is locked"));
}
