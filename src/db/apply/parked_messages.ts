/**
 * Events whose table does not fit the local schema, raw and in order. While a table is parked its later events
 * queue behind; its own publishing goes on. Past the bounds events are lost to this node: the table is marked as in
 * need of a resync, durably.
 */
import type { NodeId, RowEventV06 } from "../../wire/batch.ts";
import { type BatchBody, decodeBody, encodeBody } from "../../wire/batch_codec.ts";
import { decodeRowEvent, encodeRowEvent } from "../../wire/row_event_codec.ts";
import type { Connection } from "../connection.ts";
import { foldName } from "../schema/identifiers.ts";

/** What may wait of one table, and of all tables together: anyone may publish under any name. */
export interface ParkedBounds {
  readonly messages: number;
  readonly bytes: number;
}

const BOUNDS: ParkedBounds = { messages: 10_000, bytes: 256 * 1024 * 1024 };
const BOUNDS_IN_ALL: ParkedBounds = { messages: 50_000, bytes: 1024 * 1024 * 1024 };
/** Tables that are marked at most. */
const MAX_MARKED = 1000;

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
  /** Whether it came in parts, which are gone once it was taken. */
  readonly isInParts?: boolean;
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
  /** Folded table name and what waits of it. */
  readonly #waiting = new Map<string, ParkedBounds>();
  /** Folded names of tables in need of a resync. */
  readonly #marked = new Set<string>();

  constructor(
    readonly connection: Connection,
    readonly bounds: { each: ParkedBounds; all: ParkedBounds } = { each: BOUNDS, all: BOUNDS_IN_ALL },
  ) {}

  load(): void {
    this.#waiting.clear();
    this.#marked.clear();
    const { connection } = this;
    const rows = connection.statement(
      "SELECT table_name, count(*), total(length(message)) FROM __marmot__parked GROUP BY 1",
    ).all();
    for (const row of rows) {
      this.#count(String(row[0]), { messages: Number(row[1]), bytes: Number(row[2]) });
    }
    for (const [name] of connection.statement("SELECT table_name FROM __marmot__resync").all()) {
      this.#marked.add(foldName(String(name)));
    }
  }

  /** Tables that have lost events, by the names that the messages gave, each with how many those were. */
  inNeedOfResync(): { table: string; lost: number }[] {
    return this.connection.statement("SELECT table_name, lost FROM __marmot__resync ORDER BY table_name")
      .all()
      .map((row) => ({ table: String(row[0]), lost: Number(row[1]) }));
  }

  isParked(table: string): boolean {
    return this.#waiting.has(foldName(table));
  }

  /** The first of some names of a table under which its events wait; undefined where none do. */
  queueOf(names: readonly string[]): string | undefined {
    return names.find((name) => this.isParked(name));
  }

  /** Has events that wait under other names of a table wait under this one, in the order in which they came. */
  join(queue: string, names: readonly string[]): void {
    for (const name of names) {
      const waiting = this.#waiting.get(foldName(name));
      if (!waiting || foldName(name) === foldName(queue)) continue;
      this.connection.statement(
        "UPDATE __marmot__parked SET table_name = ? WHERE lower(table_name) = lower(?)",
      )
        .run([queue, name]);
      this.#count(name, { messages: -waiting.messages, bytes: -waiting.bytes });
      this.#count(queue, waiting);
    }
  }

  tables(): string[] {
    return [...this.#waiting.keys()];
  }

  /** Puts a message aside. "first lost", "lost": no room was left, its events are lost to this node until a resync. */
  park(
    message: SoundMessage,
    { queue = message.tableName, reason, atMs }: {
      /** The table behind whose events it waits, as the message names it unless told. */
      readonly queue?: string;
      readonly reason: string;
      readonly atMs: number;
    },
  ): "first" | "queued" | "first lost" | "lost" {
    const isFirst = !this.isParked(queue);
    const bytes = message.content.kind === "batch"
      ? encodeBody(message.content.body)
      : encodeRowEvent(message.content.event);
    if (!this.#hasRoom(queue, bytes.length)) return this.#lose({ ...message, tableName: queue }, atMs);
    this.#count(queue, { messages: 1, bytes: bytes.length });
    this.connection.statement(
      "INSERT INTO __marmot__parked (table_name, stream, sequence, message, reason, origin, run, top) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    ).run([
      queue,
      message.stream,
      BigInt(message.sequence),
      bytes,
      reason,
      message.origin.toString(),
      message.run === null ? null : BigInt(message.run),
      BigInt(message.top),
    ]);
    return isFirst ? "first" : "queued";
  }

  #lose({ tableName, stream, sequence }: SoundMessage, atMs: number): "first lost" | "lost" {
    const name = foldName(tableName);
    const isFirst = !this.#marked.has(name);
    if (isFirst && this.#marked.size >= MAX_MARKED) return "lost";
    this.#marked.add(name);
    this.connection.statement(
      "INSERT INTO __marmot__resync (table_name, stream, sequence, lost, at_ms) VALUES (?, ?, ?, 1, ?) " +
        "ON CONFLICT (table_name) DO UPDATE SET lost = lost + 1",
    ).run([tableName, stream, BigInt(sequence), BigInt(atMs)]);
    return isFirst ? "first lost" : "lost";
  }

  #hasRoom(table: string, bytes: number): boolean {
    const { each, all } = this.bounds;
    const waiting = this.#waiting.get(foldName(table)) ?? { messages: 0, bytes: 0 };
    if (waiting.messages >= each.messages || waiting.bytes + bytes > each.bytes) return false;
    const sum = { messages: 0, bytes };
    for (const other of this.#waiting.values()) {
      sum.messages += other.messages;
      sum.bytes += other.bytes;
    }
    return sum.messages < all.messages && sum.bytes <= all.bytes;
  }

  #count(table: string, { messages, bytes }: ParkedBounds): void {
    const name = foldName(table);
    const before = this.#waiting.get(name) ?? { messages: 0, bytes: 0 };
    const now = { messages: before.messages + messages, bytes: before.bytes + bytes };
    if (now.messages > 0) this.#waiting.set(name, now);
    else this.#waiting.delete(name);
  }

  /** The first waiting message of a table, undefined when none waits. */
  first(table: string): ParkedMessage | undefined {
    const row = this.connection.statement(
      "SELECT id, stream, sequence, message, origin, run, top, reason FROM __marmot__parked WHERE lower(table_name) = lower(?) ORDER BY id LIMIT 1",
    ).get([table]);
    if (!row || typeof row[0] !== "bigint" || !(row[3] instanceof Uint8Array)) return undefined;
    const content: MessageContent = row[5] === null
      ? { kind: "row", event: decodeRowEvent(row[3]) }
      : { kind: "batch", body: decodeBody(row[3]) };
    return {
      id: row[0],
      reason: String(row[7]),
      bytes: row[3],
      message: {
        stream: String(row[1]),
        sequence: Number(row[2]),
        tableName: content.kind === "row" ? content.event.table : content.body.table,
        content,
        origin: BigInt(String(row[4])),
        run: row[5] === null ? null : Number(row[5]),
        top: Number(row[6]),
      },
    };
  }

  /**
   * Drops what waits of the stream's messages from `first` to `last`, and returns how many those were. A table of which events
   * were lost is whole again where all of them are among these. Call in a write transaction.
   */
  dropOf(
    { name, cursor }: { readonly name: string; readonly cursor: number },
    { first = 0, last = Number.MAX_SAFE_INTEGER }: { readonly first?: number; readonly last?: number },
  ): number {
    const range = [name, BigInt(first), BigInt(last)];
    const dropped = this.connection.statement(
      "DELETE FROM __marmot__parked WHERE stream = ? AND sequence BETWEEN ? AND ?",
    ).run(range);
    if (cursor <= last) {
      this.connection.statement("DELETE FROM __marmot__resync WHERE stream = ? AND sequence >= ?")
        .run([name, BigInt(first)]);
    }
    this.load();
    return dropped;
  }

  /** Removes a message that was applied. */
  release(table: string, { id, bytes }: Pick<ParkedMessage, "id" | "bytes">): void {
    this.connection.statement("DELETE FROM __marmot__parked WHERE id = ?").run([id]);
    this.#count(table, { messages: -1, bytes: -bytes.length });
  }
}
