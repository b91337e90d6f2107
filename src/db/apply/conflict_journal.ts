/**
 * What lost, and to what: the record that promise P2 speaks of. The newest are kept, bounded in number and in bytes. A
 * record whose winner is a local change that is not published yet is open: the winner's place in its stream is filled in when
 * its echo is read.
 */
import type { NodeId } from "../../wire/batch.ts";
import { type BatchBody, decodeBody, encodeBody } from "../../wire/batch_codec.ts";
import type { Connection } from "../connection.ts";
import { type KeyIdentity, storedIdentity } from "../schema/key.ts";

/** What is kept at most. */
export interface JournalBounds {
  readonly records: number;
  /** Of the losing images; the newest record is kept whatever its size. */
  readonly bytes: number;
}

const BOUNDS: JournalBounds = { records: 10_000, bytes: 64 * 1024 * 1024 };

/**
 * How a change lost; compatibility constants. "overwritten": a remote event found a pending local change of its row, which
 * stands later in the stream. "displaced": a row held a UNIQUE value of a later event. "hidden-dropped":
 * a hidden row's key or value was taken by a later event.
 */
export type ConflictKind = "overwritten" | "displaced" | "hidden-dropped";

/** Where an event stands. */
export interface StreamPlace {
  readonly stream: string;
  readonly sequence: number;
}

/** A row of a table. */
export interface RowName {
  readonly tableId: number;
  readonly identity: KeyIdentity;
}

export interface Conflict {
  readonly kind: ConflictKind;
  /** The losing image: the table, its columns, and one event. */
  readonly losing: BatchBody;
  /** null: not known, as of a row that stood in the table. */
  readonly losingOrigin: NodeId | null;
  readonly winnerOrigin: NodeId;
  /** Where the winner stands, or the row whose pending change wins. */
  readonly winner: StreamPlace | RowName;
  readonly atMs: number;
}

export class ConflictJournal {
  #records = 0;
  #bytes = 0;
  /** How many records are open: for none nothing is looked up. */
  #open = 0;

  constructor(readonly connection: Connection, readonly bounds: JournalBounds = BOUNDS) {}

  load(): void {
    const row = this.connection.statement(
      "SELECT count(*), total(length(losing)), count(open_table_id) FROM __marmot__conflict",
    ).get();
    [this.#records, this.#bytes, this.#open] = [0, 1, 2].map((i) => Number(row?.[i] ?? 0)) as [
      number,
      number,
      number,
    ];
  }

  record(conflict: Conflict): void {
    const { winner } = conflict;
    const place = "stream" in winner ? winner : undefined;
    const row = "stream" in winner ? undefined : winner;
    const losing = encodeBody(conflict.losing);
    this.connection.statement(
      "INSERT INTO __marmot__conflict (table_name, kind, losing, losing_origin, winner_stream, winner_sequence, winner_origin, " +
        "at_ms, open_table_id, open_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ).run([
      conflict.losing.table,
      conflict.kind,
      losing,
      conflict.losingOrigin?.toString() ?? null,
      place?.stream ?? null,
      place ? BigInt(place.sequence) : null,
      conflict.winnerOrigin.toString(),
      BigInt(conflict.atMs),
      row ? BigInt(row.tableId) : null,
      row ? storedIdentity(row.identity) : null,
    ]);
    this.#records++;
    this.#bytes += losing.length;
    if (row) this.#open++;
    this.#trim();
  }

  /** Fills in where the winner stands: the echo of the local change that has won over others of its row. */
  close({ tableId, identity }: RowName, { stream, sequence }: StreamPlace): void {
    if (this.#open === 0) return;
    this.#open -= this.connection.statement(
      "UPDATE __marmot__conflict SET winner_stream = ?, winner_sequence = ?, open_table_id = NULL, open_key = NULL " +
        "WHERE open_table_id = ? AND open_key = ?",
    ).run([stream, BigInt(sequence), BigInt(tableId), storedIdentity(identity)]);
  }

  /** The newest images of a table's rows that lost their UNIQUE values to others, at most `limit`. */
  displaced(tableName: string, limit: number): BatchBody[] {
    return this.connection.statement(
      "SELECT losing FROM __marmot__conflict WHERE table_name = ? AND kind <> 'overwritten' ORDER BY id DESC LIMIT ?",
    ).all([tableName, BigInt(limit)]).flatMap(([losing]) =>
      losing instanceof Uint8Array ? [decodeBody(losing)] : []
    );
  }

  #trim(): void {
    const { records, bytes } = this.bounds;
    while (this.#records > records || (this.#bytes > bytes && this.#records > 1)) {
      const oldest = this.connection.statement(
        "SELECT id, length(losing), open_table_id FROM __marmot__conflict ORDER BY id LIMIT 1",
      ).get();
      if (!oldest) return this.load();
      this.connection.statement("DELETE FROM __marmot__conflict WHERE id = ?").run([oldest[0] ?? null]);
      this.#records--;
      this.#bytes -= Number(oldest[1]);
      if (oldest[2] !== null) this.#open--;
    }
  }
}
