/**
 * Table images that this node owes the others: one of each table that was changed without capture. How far an image has been
 * published is kept with the cursor: it has reached a key when the piece up to there was read back. A finished image is
 * kept, so that it can be owed again when its stream loses it.
 */
import type { TableImage } from "../../wire/batch.ts";
import { decodeBody, encodeBody } from "../../wire/batch_codec.ts";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { readMeta, writeMeta } from "./meta.ts";

export interface DueImage {
  readonly tableId: number;
  readonly id: number;
  /** The key that it has reached; null: none yet. */
  readonly reached: readonly Value[] | null;
}

export class DueImages {
  readonly #due = new Map<number, DueImage>();

  constructor(readonly connection: Connection) {}

  load(): void {
    this.#due.clear();
    const rows = this.connection.statement(
      "SELECT table_id, id, reached FROM __marmot__image WHERE is_done = 0",
    );
    for (const [tableId, id, reached] of rows.all()) {
      this.#set({ tableId: Number(tableId), id: Number(id), reached: decodeKey(reached ?? null) });
    }
  }

  get(tableId: number): DueImage | undefined {
    return this.#due.get(tableId);
  }

  all(): DueImage[] {
    return [...this.#due.values()];
  }

  /** Owes an image of a table, from its first key on; one that is owed already begins again under a new id. */
  begin(tableId: number): void {
    const id = Number(readMeta(this.connection, "last_image") ?? 0n) + 1;
    writeMeta(this.connection, "last_image", BigInt(id));
    this.connection.statement(
      "INSERT OR REPLACE INTO __marmot__image (table_id, id, reached, is_done, stream, sequence) " +
        "VALUES (?, ?, NULL, 0, NULL, NULL)",
    ).run([BigInt(tableId), BigInt(id)]);
    this.#set({ tableId, id, reached: null });
  }

  /** Takes note of an own piece that was read back; one of an older image says nothing. */
  reach(tableId: number, { id, upTo }: TableImage, at: { stream: string; sequence: number }): void {
    const due = this.#due.get(tableId);
    if (due?.id !== id) return;
    this.connection.statement(
      "UPDATE __marmot__image SET reached = ?, is_done = ?, stream = ?, sequence = ? WHERE table_id = ?",
    ).run([encodeKey(upTo), upTo === null ? 1n : 0n, at.stream, BigInt(at.sequence), BigInt(tableId)]);
    if (upTo === null) this.#due.delete(tableId);
    else this.#set({ tableId, id, reached: upTo });
  }

  /** Owes again what stood behind a sequence of a stream that has lost its end. */
  goBack(stream: string, sequence: number): void {
    const lost = this.connection.statement(
      "SELECT table_id FROM __marmot__image WHERE stream = ? AND sequence > ?",
    )
      .all([stream, BigInt(sequence)]);
    for (const [tableId] of lost) this.begin(Number(tableId));
  }

  /** Owes no image of a table any more. */
  drop(tableId: number): void {
    this.connection.statement("DELETE FROM __marmot__image WHERE table_id = ?").run([BigInt(tableId)]);
    this.#due.delete(tableId);
  }

  #set(due: DueImage): void {
    this.#due.set(due.tableId, due);
  }
}

/** A key as a message carries it: exact. */
function encodeKey(key: readonly Value[] | null): Value {
  if (key === null) return null;
  const columns = key.map((_, i) => `k${i}`);
  const events = [{ kind: "delete" as const, key }];
  return encodeBody({ table: "", columns, key: columns.map((_, i) => i), uniqueSignature: "", events });
}

function decodeKey(bytes: Value): readonly Value[] | null {
  if (!(bytes instanceof Uint8Array)) return null;
  const event = decodeBody(bytes).events[0];
  return event?.kind === "delete" ? event.key : null;
}
