/** The streams that this database has read, as the operator sees them. */
import type { Connection } from "../connection.ts";

export interface StreamOnRecord {
  readonly name: string;
  /** Last sequence applied, or put aside. */
  readonly cursor: number;
  /** Events of it that wait for their table's schema. */
  readonly parked: number;
}

/** In the order of their names, numbers by their size. */
export function readStreams(connection: Connection): StreamOnRecord[] {
  return connection.statement(
    "SELECT name, cursor, (SELECT count(*) FROM __marmot__parked p WHERE p.stream = s.name) FROM __marmot__stream s " +
      "ORDER BY length(name), name",
  ).all().map((row) => ({ name: String(row[0]), cursor: Number(row[1]), parked: Number(row[2]) }));
}
