/**
 * What lost, and to what: the record that promise P2 speaks of. The newest MAX_CONFLICTS are kept.
 */
import type { NodeId } from "../../wire/batch.ts";
import { type BatchBody, encodeBody } from "../../wire/batch_codec.ts";
import type { Connection } from "../connection.ts";

const MAX_CONFLICTS = 10_000;

/**
 * How a change lost; compatibility constants. "overwritten": a remote event found a pending local change of its row, which
 * stands later in the stream. "displaced": a row held a UNIQUE value of a later event. "hidden-dropped":
 * a hidden row's key or value was taken by a later event.
 */
export type ConflictKind = "overwritten" | "displaced" | "hidden-dropped";

export interface Conflict {
  readonly kind: ConflictKind;
  /** The losing image: the table, its columns, and one event. */
  readonly losing: BatchBody;
  readonly losingOrigin: NodeId | null;
  readonly winnerOrigin: NodeId;
  /** Where the winner stands; null while it is not published. */
  readonly winner: { readonly stream: string; readonly sequence: number } | null;
  readonly atMs: number;
}

export function recordConflict(connection: Connection, conflict: Conflict): void {
  connection.statement(
    "INSERT INTO __marmot__conflict (table_name, kind, losing, losing_origin, winner_stream, winner_sequence, winner_origin, at_ms) " +
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  ).run([
    conflict.losing.table,
    conflict.kind,
    encodeBody(conflict.losing),
    conflict.losingOrigin?.toString() ?? null,
    conflict.winner?.stream ?? null,
    conflict.winner ? BigInt(conflict.winner.sequence) : null,
    conflict.winnerOrigin.toString(),
    BigInt(conflict.atMs),
  ]);
  connection.statement(
    `DELETE FROM __marmot__conflict WHERE id <= (SELECT max(id) FROM __marmot__conflict) - ${MAX_CONFLICTS}`,
  ).run();
}
