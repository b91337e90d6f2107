/** Tells a node that a command has changed something in Marmot's tables; one that does not run sees it at its start. */
import type { Connection } from "../connection.ts";
import { readMeta, writeMeta } from "../state/meta.ts";

/** Call in the write transaction of the change. */
export function requestOperatorLook(connection: Connection): void {
  const before = readMeta(connection, "operator_request");
  writeMeta(connection, "operator_request", (typeof before === "bigint" ? before : 0n) + 1n);
}
