/**
 * Remote rows that clash with a pending local row: kept aside, not lost, until the clash is decided. A later event
 * that takes the row's key or value, or a local write to its key, drops it; it comes out when no row clashes with
 * it any more. Rules: docs/design.md, "UNIQUE tables".
 */
import type { NodeId } from "../../wire/batch.ts";
import { type BatchBody, decodeBody, encodeBody } from "../../wire/batch_codec.ts";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { type KeyIdentity, storedIdentity } from "../schema/key.ts";

export interface HiddenRow {
  readonly identity: KeyIdentity;
  /** The table, its columns, and the one upsert. */
  readonly body: BatchBody;
  /** Whose event it is; null where an earlier version of Marmot did not note it. */
  readonly origin: NodeId | null;
}

export class HiddenRows {
  /** Tables that have hidden rows: for all others nothing is looked up. */
  #tables = new Set<number>();

  constructor(readonly connection: Connection) {}

  load(): void {
    const rows = this.connection.statement("SELECT DISTINCT table_id FROM __marmot__hidden").all();
    this.#tables = new Set(rows.map((row) => Number(row[0])));
  }

  tables(): number[] {
    return [...this.#tables];
  }

  all(tableId: number): HiddenRow[] {
    if (!this.#tables.has(tableId)) return [];
    const rows = this.connection.statement(
      "SELECT key_identity, body, origin FROM __marmot__hidden WHERE table_id = ? ORDER BY rowid",
    ).all([BigInt(tableId)]);
    if (rows.length === 0) this.#tables.delete(tableId);
    return rows.map((row) => ({
      identity: restored(row[0] ?? null),
      body: decodeBody(row[1] as Uint8Array),
      origin: typeof row[2] === "string" ? BigInt(row[2]) : null,
    }));
  }

  hide(tableId: number, hidden: HiddenRow, at: { stream: string; sequence: number }): void {
    this.#tables.add(tableId);
    this.connection.statement(
      "INSERT OR REPLACE INTO __marmot__hidden (table_id, key_identity, body, stream, sequence, origin) VALUES (?, ?, ?, ?, ?, ?)",
    ).run([
      BigInt(tableId),
      storedIdentity(hidden.identity),
      encodeBody(hidden.body),
      at.stream,
      BigInt(at.sequence),
      hidden.origin?.toString() ?? null,
    ]);
  }

  dropAll(tableId: number): void {
    if (!this.#tables.delete(tableId)) return;
    this.connection.statement("DELETE FROM __marmot__hidden WHERE table_id = ?").run([BigInt(tableId)]);
  }

  drop(tableId: number, identity: KeyIdentity): void {
    if (!this.#tables.has(tableId)) return;
    this.connection.statement("DELETE FROM __marmot__hidden WHERE table_id = ? AND key_identity = ?")
      .run([BigInt(tableId), storedIdentity(identity)]);
  }
}

function restored(value: Value): KeyIdentity {
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : Number(value);
}
