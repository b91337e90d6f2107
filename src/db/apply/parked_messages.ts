/**
 * Events whose table does not fit the local schema, raw and in order. While a table is parked its later events
 * queue behind; its own publishing goes on. A table past MAX_MESSAGES needs a resync: no more is kept of it.
 */
import type { NodeId, RowEventV06 } from "../../wire/batch.ts";
import { type BatchBody, decodeBody, encodeBody } from "../../wire/batch_codec.ts";
import { decodeRowEvent, encodeRowEvent } from "../../wire/row_event_codec.ts";
import type { Connection } from "../connection.ts";
import { foldName } from "../schema/identifiers.ts";

/** Parked messages per table, and of all tables together: anyone may publish under any name. */
const MAX_MESSAGES = 10_000;
const MAX_MESSAGES_IN_ALL = 50_000;

/** What a message says, in Marmot's own format or in the original's. */
export type MessageContent =
  | { readonly kind: "batch"; readonly body: BatchBody }
  | { readonly kind: "row"; readonly event: RowEventV06 };

/** A message that was read as its origin meant it: what applying it needs. */
export interface SoundMessage {
  readonly stream: string;
  readonly sequence: number;
  /** The table as the message names it. */
  readonly tableName: string;
  readonly origin: NodeId;
  /** null: the original's format, which has no numbers. */
  readonly run: number | null;
  readonly top: number;
  readonly content: MessageContent;
}

export interface ParkedMessage {
  readonly id: bigint;
  readonly message: SoundMessage;
  /** Why it waits. */
  readonly reason: string;
  /** The bytes that are kept: a body, or a message of the original. */
  readonly bytes: Uint8Array;
}

export class ParkedMessages {
  /** Folded table name and how many messages of it wait. */
  readonly #counts = new Map<string, number>();

  constructor(readonly connection: Connection) {}

  load(): void {
    this.#counts.clear();
    for (
      const row of this.connection.statement("SELECT table_name, count(*) FROM __marmot__parked GROUP BY 1")
        .all()
    ) {
      const name = foldName(String(row[0]));
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + Number(row[1]));
    }
  }

  isParked(table: string): boolean {
    return this.#counts.has(foldName(table));
  }

  tables(): string[] {
    return [...this.#counts.keys()];
  }

  /** Puts a message aside. "full": the table had too many already and this one is lost to it until a resync. */
  park(message: SoundMessage, reason: string): "first" | "queued" | "full" {
    const name = foldName(message.tableName);
    const count = this.#counts.get(name) ?? 0;
    if (count >= MAX_MESSAGES || this.#countAll() >= MAX_MESSAGES_IN_ALL) return "full";
    this.#counts.set(name, count + 1);
    this.connection.statement(
      "INSERT INTO __marmot__parked (table_name, stream, sequence, message, reason, origin, run, top) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    ).run([
      message.tableName,
      message.stream,
      BigInt(message.sequence),
      message.content.kind === "batch"
        ? encodeBody(message.content.body)
        : encodeRowEvent(message.content.event),
      reason,
      message.origin.toString(),
      message.run === null ? null : BigInt(message.run),
      BigInt(message.top),
    ]);
    return count === 0 ? "first" : "queued";
  }

  #countAll(): number {
    let all = 0;
    for (const count of this.#counts.values()) all += count;
    return all;
  }

  /** The first waiting message of a table, undefined when none waits. */
  first(table: string): ParkedMessage | undefined {
    const row = this.connection.statement(
      "SELECT id, stream, sequence, message, origin, run, top, table_name, reason FROM __marmot__parked WHERE lower(table_name) = lower(?) ORDER BY id LIMIT 1",
    ).get([table]);
    if (!row || typeof row[0] !== "bigint" || !(row[3] instanceof Uint8Array)) return undefined;
    return {
      id: row[0],
      reason: String(row[8]),
      bytes: row[3],
      message: {
        stream: String(row[1]),
        sequence: Number(row[2]),
        tableName: String(row[7]),
        content: row[5] === null
          ? { kind: "row", event: decodeRowEvent(row[3]) }
          : { kind: "batch", body: decodeBody(row[3]) },
        origin: BigInt(String(row[4])),
        run: row[5] === null ? null : Number(row[5]),
        top: Number(row[6]),
      },
    };
  }

  /** Removes a message that was applied. */
  release(table: string, id: bigint): void {
    this.connection.statement("DELETE FROM __marmot__parked WHERE id = ?").run([id]);
    const name = foldName(table);
    const left = (this.#counts.get(name) ?? 1) - 1;
    if (left > 0) this.#counts.set(name, left);
    else this.#counts.delete(name);
  }
}
