/**
 * Makes the next piece of a table image: the rows of a range of keys, and whatever else of the table is not published yet,
 * so that a reader who has the piece knows all that this node knew of the range.
 */
import type { ChangeEvent, TableImage } from "../../wire/batch.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import { keyOrderOf } from "../rows/key_ranges.ts";
import { hasNull, type KeyIdentity } from "../schema/key.ts";
import type { DueImage } from "../state/due_images.ts";
import { entryKinds } from "../state/state_tables.ts";
import type { ChangeLog } from "./change_log.ts";
import { readEvent, sizeOf } from "./change_event.ts";
import type { Value } from "../../wire/value.ts";

export interface ImagePiece {
  readonly table: ArmedTable;
  readonly events: ChangeEvent[];
  readonly image: TableImage;
  /** The highest change log id that the events cover. */
  readonly top: number;
}

export interface ImageBounds {
  readonly rows: number;
  /** A row beyond that is the last one. */
  readonly bytes: number;
  /** Entries of the change log that a piece takes along. */
  readonly entries: number;
}

/**
 * The next piece; "backlog" where there are too many unpublished changes behind `position` to take along: publish them
 * first. Call inside a transaction, after everything up to `position` was published and read back.
 */
export function scanImage(
  log: ChangeLog,
  { table, due, position, bounds }: {
    table: ArmedTable;
    due: DueImage;
    position: number;
    bounds: ImageBounds;
  },
): ImagePiece | "backlog" {
  const entries = log.read(position, bounds.entries);
  if (entries.length === bounds.entries) return "backlog";
  const events = new Map<KeyIdentity, ChangeEvent>();
  let bytes = 0;
  const add = (key: readonly Value[]) => {
    const identity = table.rows.identityOf(key);
    if (events.has(identity)) return;
    const event = readEvent(table, key);
    bytes += sizeOf(event);
    events.set(identity, event);
  };
  for (const { tableId, kind, key } of entries) {
    if (tableId !== table.id || kind === entryKinds.settled) continue;
    const ownKey = key.slice(0, table.schema.key.length);
    if (kind !== entryKinds.victim || hasNull(ownKey) || !table.rows.has(ownKey)) add(ownKey);
  }
  const after = due.reached;
  if (after === null) { for (const key of table.ranges.keysWithNull()) add(key); }
  const keys = table.ranges.keys({ after, upTo: null }, bounds.rows);
  let upTo: readonly Value[] | null = null;
  for (const [i, key] of keys.entries()) {
    add(key);
    if (i === bounds.rows - 1 || (bytes >= bounds.bytes && i < keys.length - 1)) {
      upTo = key;
      break;
    }
  }
  const rows = after === null ? table.ranges.countRows() : null;
  const image = { id: due.id, rows, keyOrder: keyOrderOf(table.schema), after, upTo };
  return { table, events: [...events.values()], image, top: entries.at(-1)?.id ?? position };
}
