/** Messages that can never be applied, kept raw with the reason. The newest MAX_MESSAGES are kept. */
import type { Connection } from "../connection.ts";

const MAX_MESSAGES = 10_000;

export interface QuarantinedMessage {
  readonly stream: string;
  readonly sequence: number;
  readonly subject: string;
  readonly format: string | null;
  readonly payload: Uint8Array;
}

export function quarantine(
  connection: Connection,
  message: QuarantinedMessage,
  why: { reason: string; atMs: number },
): void {
  connection.statement(
    "INSERT INTO __marmot__quarantine (stream, sequence, subject, format, payload, reason, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
  ).run([
    message.stream,
    BigInt(message.sequence),
    message.subject,
    message.format,
    message.payload,
    why.reason,
    BigInt(why.atMs),
  ]);
  connection.statement(
    `DELETE FROM __marmot__quarantine WHERE id <= (SELECT max(id) FROM __marmot__quarantine) - ${MAX_MESSAGES}`,
  ).run();
}
