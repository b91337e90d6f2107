/**
 * Messages that can never be applied, kept raw with the reason until the operator discards them or has them taken up again
 * (quarantine_retry.ts). The newest are kept, bounded in number and in bytes.
 */
import type { Connection } from "../connection.ts";

export interface QuarantinedMessage {
  readonly stream: string;
  readonly sequence: number;
  readonly subject: string;
  /** The format header; PARKED_FORMAT for a batch that was parked. */
  readonly format: string | null;
  readonly payload: Uint8Array;
}

/** What is kept at most. */
export interface QuarantineBounds {
  readonly messages: number;
  /** Of the payloads; the newest message is kept whatever its size. */
  readonly bytes: number;
}

const BOUNDS: QuarantineBounds = { messages: 10_000, bytes: 256 * 1024 * 1024 };

/** In place of the format header: the payload is a batch as it was parked, without its envelope. A compatibility constant. */
export const PARKED_FORMAT = "marmot-parked";

export class Quarantine {
  #messages = 0;
  #bytes = 0;

  constructor(readonly connection: Connection, readonly bounds: QuarantineBounds = BOUNDS) {}

  load(): void {
    const row = this.connection.statement("SELECT count(*), total(length(payload)) FROM __marmot__quarantine")
      .get();
    this.#messages = Number(row?.[0] ?? 0);
    this.#bytes = Number(row?.[1] ?? 0);
  }

  /** Puts a message aside, and returns how many older ones had to go for it. Call in a write transaction. */
  put(message: QuarantinedMessage, why: { reason: string; atMs: number }): number {
    this.connection.statement(
      "INSERT INTO __marmot__quarantine (id, stream, sequence, subject, format, payload, reason, at_ms, retry) " +
        "SELECT 1 + max(coalesce((SELECT max(id) FROM __marmot__quarantine), 0), " +
        "coalesce((SELECT max(quarantine_id) FROM __marmot__followed), 0)), ?, ?, ?, ?, ?, ?, ?, 0",
    ).run([
      message.stream,
      BigInt(message.sequence),
      message.subject,
      message.format,
      message.payload,
      why.reason,
      BigInt(why.atMs),
    ]);
    this.#messages++;
    this.#bytes += message.payload.length;
    return this.#trim();
  }

  #trim(): number {
    const { messages, bytes } = this.bounds;
    let gone = 0;
    while (this.#messages > messages || (this.#bytes > bytes && this.#messages > 1)) {
      const oldest = this.connection.statement(
        "SELECT id, length(payload) FROM __marmot__quarantine ORDER BY id LIMIT 1",
      ).get();
      if (!oldest) {
        this.load();
        break;
      }
      this.connection.statement("DELETE FROM __marmot__quarantine WHERE id = ?").run([oldest[0] ?? null]);
      this.#messages--;
      this.#bytes -= Number(oldest[1]);
      gone++;
    }
    return gone;
  }
}

/** The highest id in quarantine, 0 where it is empty. */
export function newestQuarantined(connection: Connection): number {
  return connection.integer("SELECT max(id) FROM __marmot__quarantine");
}

/**
 * Keeps which tables have taken events since messages were put into quarantine, up to which of these. A message whose
 * table has taken none since may be taken up again as if it had come late.
 */
export function noteFollowed(connection: Connection, tableIds: Iterable<number>, quarantineId: number): void {
  if (quarantineId === 0) return;
  for (const tableId of tableIds) {
    connection.statement(
      "INSERT INTO __marmot__followed (table_id, quarantine_id) VALUES (?1, ?2) ON CONFLICT (table_id) " +
        "DO UPDATE SET quarantine_id = max(quarantine_id, ?2)",
    ).run([BigInt(tableId), BigInt(quarantineId)]);
  }
}

/** Whether a table has taken an event since the message was put into quarantine. */
export function isFollowed(connection: Connection, tableId: number, quarantineId: number): boolean {
  return connection.statement("SELECT 1 FROM __marmot__followed WHERE table_id = ? AND quarantine_id >= ?")
    .get([BigInt(tableId), BigInt(quarantineId)]) !== undefined;
}
