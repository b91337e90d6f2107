/** What a stream holds, in words that a person can follow. */
import { decodeBody } from "../../src/wire/batch_codec.ts";
import type { StoredMessage } from "../../src/stream/change_streams.ts";
import { keyOf, readEnvelope, rowTexts, valueText } from "./stream_reading.ts";

/** One message: where it stands, whose it is, and what it says. */
export function describeMessage(message: StoredMessage): string {
  const { shard, sequence } = message;
  const { origin, run, number, top, part, parts, body } = readEnvelope(message);
  const head = `stream ${shard} stores ${sequence}: node ${origin}, run ${
    run % 1_000_000
  } number ${number}, up to change ${top}`;
  if (parts > 1) return `${head}, part ${part + 1} of ${parts}`;
  const batch = decodeBody(body);
  const events = batch.events.slice(0, 12).map((event) => {
    const key = keyOf(batch, event).map(valueText).join(", ");
    if (event.kind === "delete") return `(${key}) deleted`;
    return rowTexts(batch, event).map((row) => `(${key}) is ${Object.values(row).join(", ")}`).join(
      " and ",
    ) ||
      `(${key}) is an empty list`;
  });
  const more = batch.events.length > 12 ? ` and ${batch.events.length - 12} more` : "";
  return `${head}, ${batch.table} ${events.join("; ")}${more}`;
}
