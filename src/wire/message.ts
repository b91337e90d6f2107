/**
 * Any message of a change stream, told apart by its format header: a batch (or a part of one) in Marmot's own
 * format, or one row in the original's.
 */
import { MalformedMessageError } from "../errors.ts";
import type { RowEventV06 } from "./batch.ts";
import { BATCH_FORMAT, decodeEnvelope, type Envelope } from "./batch_codec.ts";
import { decompress, isZstandard } from "./compression.ts";
import { decodeRowEvent } from "./row_event_codec.ts";

export type Message =
  | { readonly kind: "batch"; readonly envelope: Envelope }
  | { readonly kind: "row"; readonly event: RowEventV06 };

/** Formats that a later Marmot may have: one of these is not damaged, it is for those that know it. */
const NEWER_FORMAT = /^batch\/([2-9]|[1-9]\d)$/;

/** Whether a newer Marmot wrote the message: it must not be passed over, a later version of this node can read it. */
export function isNewerFormat(format: string | null): boolean {
  return format !== null && format !== BATCH_FORMAT && NEWER_FORMAT.test(format);
}

/** Decodes a message, compressed or not. Throws MalformedMessageError for all that can never be applied. */
export function decodeMessage(format: string | null, payload: Uint8Array): Message {
  if (format !== null && format !== BATCH_FORMAT) {
    throw new MalformedMessageError(
      `Cannot read a message of format "${format}": this version reads "${BATCH_FORMAT}"`,
    );
  }
  const bytes = isZstandard(payload) ? decompress(payload) : payload;
  return format === null
    ? { kind: "row", event: decodeRowEvent(bytes) }
    : { kind: "batch", envelope: decodeEnvelope(bytes) };
}
