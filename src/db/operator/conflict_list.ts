/** The conflict journal as the operator reads it: what lost, to what, and why. */
import { errorText } from "../../errors.ts";
import { type BatchBody, decodeBody } from "../../wire/batch_codec.ts";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";

export interface ConflictRecord {
  readonly id: number;
  readonly table: string;
  /** ConflictKind, or what a later release wrote there. */
  readonly kind: string;
  /** The losing image; a text says why it cannot be read. */
  readonly losing: BatchBody | string;
  /** Node ids, decimal; null where it is not known. */
  readonly losingOrigin: string | null;
  readonly winnerOrigin: string | null;
  /** Where the winner stands; null while it is not published. */
  readonly winnerStream: string | null;
  readonly winnerSequence: number | null;
  readonly atMs: number;
}

const SELECT =
  "SELECT id, table_name, kind, losing, losing_origin, winner_origin, winner_stream, winner_sequence, at_ms FROM __marmot__conflict";

/** The newest conflicts, newest first. */
export function listConflicts(connection: Connection, limit: number): ConflictRecord[] {
  return connection.statement(`${SELECT} ORDER BY id DESC LIMIT ?`).all([BigInt(limit)]).map(recordOf);
}

export function countConflicts(connection: Connection): number {
  return connection.integer("SELECT count(*) FROM __marmot__conflict");
}

export function findConflict(connection: Connection, id: bigint): ConflictRecord | undefined {
  const row = connection.statement(`${SELECT} WHERE id = ?`).get([id]);
  return row && recordOf(row);
}

function recordOf(row: Value[]): ConflictRecord {
  const text = (value: Value | undefined) => typeof value === "string" ? value : null;
  return {
    id: Number(row[0]),
    table: String(row[1]),
    kind: String(row[2]),
    losing: readBody(row[3]),
    losingOrigin: text(row[4]),
    winnerOrigin: text(row[5]),
    winnerStream: text(row[6]),
    winnerSequence: typeof row[7] === "bigint" ? Number(row[7]) : null,
    atMs: Number(row[8]),
  };
}

function readBody(value: Value | undefined): BatchBody | string {
  if (!(value instanceof Uint8Array)) return "no image is on record";
  try {
    return decodeBody(value);
  } catch (error) {
    return `the image cannot be read: ${errorText(error)}`;
  }
}
