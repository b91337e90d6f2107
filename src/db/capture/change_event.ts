/** What became of a key's rows, as an event to publish. */
import type { ChangeEvent } from "../../wire/batch.ts";
import { RawText, type Value } from "../../wire/value.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import { hasNull } from "../schema/key.ts";

/** What the rows of a key are now. Call inside a transaction. */
export function readEvent(table: ArmedTable, key: readonly Value[]): ChangeEvent {
  const rows = table.rows.read(key);
  if (hasNull(key)) return { kind: "list", key, rows };
  const row = rows[0];
  return row ? { kind: "upsert", row } : { kind: "delete", key };
}

/** About how many bytes the event takes in a message. */
export function sizeOf(event: ChangeEvent): number {
  const rows = event.kind === "upsert" ? [event.row] : event.kind === "delete" ? [event.key] : event.rows;
  let size = 0;
  for (const row of rows) for (const value of row) size += sizeOfValue(value);
  return size;
}

function sizeOfValue(value: Value): number {
  if (typeof value === "string") return value.length + 5;
  if (value instanceof Uint8Array) return value.length + 5;
  return value instanceof RawText ? value.bytes.length + 8 : 9;
}
