/**
 * Changes as messages: many events of one table in each, below the server's limit; a row above it goes in parts.
 * With wire-format v0.6 one row in each, as the original writes them.
 */
import { sizeOf } from "../db/capture/change_event.ts";
import type { ChangeSet } from "../db/capture/change_sets.ts";
import type { ImagePiece } from "../db/capture/image_scan.ts";
import { MarmotError } from "../errors.ts";
import type { ChangeEvent, NodeId, RowEventV06 } from "../wire/batch.ts";
import { BATCH_FORMAT, type BatchBody, encodeBody, encodeEnvelope } from "../wire/batch_codec.ts";
import { compress } from "../wire/compression.ts";
import { encodeRowEvent } from "../wire/row_event_codec.ts";
import type { Value } from "../wire/value.ts";

/** A message to publish, in order with its neighbours. */
export interface OutgoingMessage {
  /** The table whose subject it goes to, by its first name; null for the shard's own subject. */
  readonly table: string | null;
  readonly format: string | null;
  readonly number: number;
  readonly top: number;
  readonly events: number;
  readonly payload: Uint8Array;
}

export interface EncoderOptions {
  readonly origin: NodeId;
  readonly run: number;
  readonly wireFormat: "batch" | "v0.6";
  /** Whether all messages are compressed, whatever their size; else those of our own format that gain by it. */
  readonly compress: boolean;
}

export interface EncodeOptions {
  /** The server's limit. */
  readonly maxPayloadBytes: number;
  /** Gives each message its number. */
  readonly nextNumber: () => number;
  /** Told of a row that the original's format cannot carry; the others go. Ours carries all. */
  readonly onRefused: (error: MarmotError) => void;
  /** Whether a message of the same transactions follows the last one of the set; undefined: nobody has to know. */
  readonly isFollowed?: boolean;
}

/** Rows in one message at most, so that applying one fits in a short transaction. */
const MAX_EVENTS = 500;
/** Bytes of a message aimed at; many small messages apply more smoothly than a few huge ones. */
export const TARGET_BYTES = 256 * 1024;
/** From here on compression saves more than it costs. */
const COMPRESS_FROM_BYTES = 2048;
/** Left for headers and the envelope. */
const OVERHEAD_BYTES = 1024;

export class MessageEncoder {
  constructor(readonly options: EncoderOptions) {}

  /** Messages for a set, in order. */
  encode(set: ChangeSet, top: number, options: EncodeOptions): OutgoingMessage[] {
    if (this.options.wireFormat === "v0.6") return this.#encodeRows(set, top, options);
    const limit = limitOf(options);
    const bodies = bodiesOf(set, limit);
    return bodies.flatMap(({ body, events }, i) => {
      const isFollowed = options.isFollowed === undefined
        ? undefined
        : options.isFollowed || i < bodies.length - 1;
      return this.#cut(body, { ...options, isFollowed, limit, table: set.table.firstName, top, events });
    });
  }

  /** Messages for a piece of a table image, in order: one body, whatever its size. */
  encodeImage({ table, events, image, top }: ImagePiece, options: EncodeOptions): OutgoingMessage[] {
    const body = encodeBody({ ...bodyOf({ table }, events), image });
    const limit = limitOf(options);
    return this.#cut(body, { ...options, limit, table: table.firstName, top, events: events.length });
  }

  /** A body as one message, or in parts: all but the last are followed. */
  #cut(
    body: Uint8Array,
    { limit, nextNumber, table, top, events, isFollowed }: Pick<EncodeOptions, "nextNumber"> & {
      limit: number;
      table: string;
      top: number;
      events: number;
      isFollowed?: boolean | undefined;
    },
  ): OutgoingMessage[] {
    const parts = Math.ceil(body.length / limit);
    return Array.from({ length: parts }, (_, part) => {
      const number = nextNumber();
      const isLast = part === parts - 1;
      const { origin, run } = this.options;
      const head = {
        origin,
        run,
        number,
        top,
        part,
        parts,
        isFollowed: isFollowed !== undefined && (isFollowed || !isLast),
      };
      const payload = this.#pack(encodeEnvelope(head, body.subarray(part * limit, (part + 1) * limit)));
      return { table, format: BATCH_FORMAT, number, top, events: isLast ? events : 0, payload };
    });
  }

  #encodeRows(set: ChangeSet, top: number, options: EncodeOptions): OutgoingMessage[] {
    const messages: OutgoingMessage[] = [];
    for (const event of rowEvents(set, this.options.origin)) {
      try {
        const payload = this.#pack(encodeRowEvent(event));
        assertFits(event, payload, options.maxPayloadBytes);
        messages.push({ table: null, format: null, number: options.nextNumber(), top, events: 1, payload });
      } catch (error) {
        if (!(error instanceof MarmotError)) throw error;
        options.onRefused(error);
      }
    }
    return messages;
  }

  /** Whoever reads tells a compressed payload by its first bytes, whatever its own options are. */
  #pack(bytes: Uint8Array): Uint8Array {
    const { compress: isAlways, wireFormat } = this.options;
    if (isAlways) return compress(bytes);
    // The original reads compressed messages only where it is told to.
    if (wireFormat === "v0.6" || bytes.length < COMPRESS_FROM_BYTES) return bytes;
    const packed = compress(bytes);
    return packed.length < bytes.length ? packed : bytes;
  }
}

function limitOf({ maxPayloadBytes }: EncodeOptions): number {
  const limit = maxPayloadBytes - OVERHEAD_BYTES;
  if (limit > 0) return limit;
  throw new MarmotError(
    "broker",
    `Cannot publish: the server takes messages of ${maxPayloadBytes} bytes at most`,
    { hint: "Raise max_payload of the NATS servers, and max_msg_size of the streams." },
  );
}

function assertFits({ table }: RowEventV06, payload: Uint8Array, maxPayloadBytes: number): void {
  if (payload.length <= maxPayloadBytes) return;
  throw new MarmotError(
    "wire",
    `cannot write a row of table "${table}" in the v0.6 format: it takes ${payload.length} bytes and is ` +
      `larger than a message, which holds ${maxPayloadBytes}`,
    { hint: "Raise max_payload of the NATS servers." },
  );
}

/** Bodies of at most MAX_EVENTS events and `limit` bytes, but for single rows beyond that. */
function bodiesOf(set: ChangeSet, limit: number): { body: Uint8Array; events: number }[] {
  const bodies: { body: Uint8Array; events: number }[] = [];
  const encode = (events: readonly ChangeEvent[], expectedBytes: number): void => {
    const body = encodeBody(bodyOf(set, events), expectedBytes);
    if (events.length === 1 || body.length <= limit) {
      bodies.push({ body, events: events.length });
      return;
    }
    const half = Math.ceil(events.length / 2);
    encode(events.slice(0, half), expectedBytes / 2);
    encode(events.slice(half), expectedBytes / 2);
  };
  for (const { events, bytes } of groupsOf(set.events, Math.min(limit, TARGET_BYTES))) {
    encode(events, bytes + OVERHEAD_BYTES);
  }
  return bodies;
}

/** Events in groups of at most MAX_EVENTS and about `maxBytes` bytes, or of one that is larger. */
function* groupsOf(
  events: readonly ChangeEvent[],
  maxBytes: number,
): Generator<{ events: readonly ChangeEvent[]; bytes: number }> {
  let [from, bytes] = [0, 0];
  for (let at = 0; at < events.length; at++) {
    const size = sizeOf(events[at]!);
    if (at > from && (at - from === MAX_EVENTS || bytes + size > maxBytes)) {
      yield { events: events.slice(from, at), bytes };
      [from, bytes] = [at, 0];
    }
    bytes += size;
  }
  if (from < events.length) yield { events: events.slice(from), bytes };
}

function bodyOf({ table }: Pick<ChangeSet, "table">, events: readonly ChangeEvent[]): BatchBody {
  const { name, columns, key, uniqueSignature } = table.schema;
  const { formerNames } = table;
  return {
    table: name,
    ...(formerNames ? { formerNames } : {}),
    columns: columns.map((column) => column.name),
    key,
    uniqueSignature,
    events,
  };
}

function rowEvents({ table, events }: ChangeSet, origin: NodeId): RowEventV06[] {
  const columns = table.schema.columns.map((column) => column.name ?? "rowid");
  const keyColumns = table.schema.key.map((position) => columns[position] ?? "");
  const event = (
    type: RowEventV06["type"],
    names: readonly string[],
    values: readonly Value[],
  ): RowEventV06 => ({
    origin,
    type,
    table: table.schema.name,
    row: new Map(names.map((name, i) => [name, values[i] ?? null])),
  });
  return events.flatMap((change) => {
    if (change.kind === "upsert") return [event("update", columns, change.row)];
    if (change.kind === "delete") return [event("delete", keyColumns, change.key)];
    return change.rows.map((row) => event("insert", columns, row));
  });
}
