/** What to do with a message whose application failed: the one place that decides it. */
import {
  BacklogError,
  DatabaseBusyError,
  MalformedMessageError,
  SchemaMismatchError,
  TooManyDeletionsError,
} from "../../errors.ts";
import { SqliteError } from "../connection.ts";

/**
 * "retry": nothing is wrong with the message, take it again later. "park": its table waits for its schema.
 * "quarantine": it can never be applied. "stop": the database or this program is not sound; the cursor stays.
 */
export type ApplyDecision = "retry" | "park" | "quarantine" | "stop";

/** SQLITE_ERROR (a statement does not compile), SQLITE_TOOBIG, SQLITE_AUTH, and errors without a code. */
const STATEMENT_CODES = new Set([0, 1, 18, 23]);

export function decideOnApplyError(error: unknown): ApplyDecision {
  if (error instanceof DatabaseBusyError || error instanceof BacklogError) return "retry";
  if (error instanceof MalformedMessageError) return "quarantine";
  if (error instanceof SchemaMismatchError || error instanceof TooManyDeletionsError) return "park";
  if (error instanceof SqliteError && (error.isConstraint || STATEMENT_CODES.has(error.resultCode & 0xff))) {
    return "park";
  }
  return "stop";
}
