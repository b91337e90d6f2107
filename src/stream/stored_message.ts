/**
 * From what JetStream delivers to StoredMessage. A message read from a consumer and the same message asked for by
 * its sequence give equal texts in `storedAt`, or the check of a cursor's message would fail.
 */
import type { StoredMsg } from "@nats-io/jetstream";
import type { Msg, MsgHdrs } from "@nats-io/nats-core";
import type { StoredMessage } from "./change_streams.ts";
import { FORMAT_HEADER } from "../wire/batch_codec.ts";

/** A message as a consumer delivers it. Throws where it is none of JetStream's. */
export function deliveredMessage(shard: number, message: Msg): StoredMessage {
  // $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<deliveries>.<sequence>.<delivery>.<time>.<pending>[.<random>]
  // Source: NATS ADR-15, "JetStream Subscribe Workflow", and ADR-31.
  const tokens = message.reply?.split(".") ?? [];
  const first = tokens.length === 9 ? 2 : 4;
  const [sequence, time] = [tokens[first + 3], tokens[first + 5]];
  if (tokens[0] !== "$JS" || tokens[1] !== "ACK" || sequence === undefined || time === undefined) {
    throw new Error(`a message on "${message.subject}" does not come from JetStream`);
  }
  return {
    shard,
    sequence: Number(sequence),
    storedAt: textOfNanoseconds(time),
    subject: message.subject,
    format: formatOf(() => message.headers),
    payload: plainBytes(message.data),
  };
}

/** A message as the stream's leader gives it for its sequence. */
export function fetchedMessage(shard: number, message: StoredMsg): StoredMessage {
  return {
    shard,
    sequence: message.seq,
    storedAt: textOfTimestamp(message.timestamp),
    subject: message.subject,
    format: formatOf(() => message.header),
    payload: plainBytes(message.data),
  };
}

/** Null also where the headers do not parse: anybody may have written them, and the payload tells by itself. */
function formatOf(headers: () => MsgHdrs | undefined): string | null {
  try {
    return headers()?.get(FORMAT_HEADER) || null;
  } catch {
    return null;
  }
}

/** Decimal nanoseconds since 1970 as RFC 3339 in UTC with nine digits of a second. */
function textOfNanoseconds(nanoseconds: string): string {
  const milliseconds = Number(nanoseconds.slice(0, -6));
  return `${new Date(milliseconds).toISOString().slice(0, -1)}${nanoseconds.slice(-6)}Z`;
}

/** RFC 3339 as Go writes it, trailing zeros of the fraction cut, with nine digits. */
function textOfTimestamp(timestamp: string): string {
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(timestamp);
  if (parts === null) throw new Error(`NATS gives a time that is not RFC 3339 in UTC: ${timestamp}`);
  return `${parts[1]}.${(parts[2] ?? "").padEnd(9, "0")}Z`;
}

/** The same bytes, never a Buffer, whose methods differ. */
function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
