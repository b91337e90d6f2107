/**
 * Reads what there is to publish: entries of the change log and, in the same snapshot, the images of their rows.
 * Several changes of one row become one event, and whether it is an upsert or a deletion is seen only here.
 */
import type { Value } from "../../wire/value.ts";
import type { ArmedTable, ArmedTables } from "../rows/armed_tables.ts";
import { sizeOf } from "./change_event.ts";
import { type ChangeLog, keyOfEntry, type LogEntry } from "./change_log.ts";
import { type ChangeSet, ChangeSets } from "./change_sets.ts";
import { ImagesAhead } from "./images_ahead.ts";
import { hasNull } from "../schema/key.ts";
import { entryKinds } from "../state/state_tables.ts";

export interface ScanRequest {
  /** The shards that take part, each with the log id up to which its changes were taken before. */
  readonly after: ReadonlyMap<number, number>;
  readonly shardOf: (table: ArmedTable, key: readonly Value[]) => number;
  /** All shards that changes of a table go to. */
  readonly shardsOf: (table: ArmedTable) => readonly number[];
  /** Entries beyond this log id are left alone. */
  readonly upTo: number;
  /** Bounds of the scan; a row beyond `maxBytes` is the last one. */
  readonly maxEntries: number;
  readonly maxBytes: number;
}

export interface ScanResult {
  /** The highest log id that was looked at: the images cover all entries up to it. */
  readonly to: number;
  /** How many entries the shards of the request had. */
  readonly entries: number;
  readonly sets: ChangeSet[];
  /** Whether there was nothing behind `to`. */
  readonly isAtEnd: boolean;
  /** Whether there were victims whose row is there: the next write transaction removes them. */
  readonly hasFalseVictims: boolean;
  /** Tables of which backfill was held back. */
  readonly heldBack: ReadonlySet<ArmedTable>;
}

export interface ScannedTables {
  readonly tables: ArmedTables;
  /** Whether events of the table were read and not applied: backfill of it would overwrite them. */
  readonly isParked: (table: ArmedTable) => boolean;
  /** Told of all entries that were read, which follow `after`. */
  readonly onRead: (after: number, entries: readonly LogEntry[]) => void;
}

/** Call inside a transaction. */
export function scanChanges(
  log: ChangeLog,
  { tables, isParked, onRead }: ScannedTables,
  request: ScanRequest,
): ScanResult {
  const start = Math.min(...request.after.values());
  if (!hasChanges(log, tables, { ...request, start })) {
    return nothingUpTo(log.highestId(), { ...request, start });
  }
  // One more than asked for tells whether there are more.
  const entries = log.read(start, request.maxEntries + 1);
  onRead(start, entries);
  const images = new ImagesAhead(log, entries);
  const sets = new ChangeSets();
  const heldBack = new Set<ArmedTable>();
  let bytes = 0;
  let count = 0;
  let to = start;
  let hasFalseVictims = false;
  let isAtEnd = entries.length <= request.maxEntries;
  if (!isAtEnd) entries.pop();
  for (const [at, entry] of entries.entries()) {
    if (bytes >= request.maxBytes || entry.id > request.upTo) {
      isAtEnd = false;
      break;
    }
    to = entry.id;
    const table = tables.byId(entry.tableId);
    if (!table || entry.kind === entryKinds.settled) continue;
    const key = keyOfEntry(entry, table);
    const shard = request.shardOf(table, key);
    if (entry.id <= (request.after.get(shard) ?? Infinity)) continue;
    if (entry.kind === entryKinds.backfill && isParked(table)) {
      heldBack.add(table);
      continue;
    }
    if (entry.kind === entryKinds.victim && !hasNull(key) && table.rows.has(key)) {
      hasFalseVictims = true;
      continue;
    }
    count++;
    if (!sets.isNew(table, table.rows.identityOf(key))) continue;
    const event = images.read(table, at, key);
    bytes += sizeOf(event);
    sets.add(table, shard, event);
  }
  return { to, entries: count, sets: sets.all(), isAtEnd, hasFalseVictims, heldBack };
}

/** Whether the log names tables of the request's shards behind `start`: far cheaper than to read what is for others. */
function hasChanges(
  log: ChangeLog,
  tables: ArmedTables,
  { after, shardsOf, start }: ScanRequest & { start: number },
): boolean {
  const all = tables.all();
  const concerned = all.filter((table) => shardsOf(table).some((shard) => after.has(shard)));
  return concerned.length === all.length || log.names(concerned.map(({ id }) => id), start);
}

function nothingUpTo(highestId: number, { start, upTo }: ScanRequest & { start: number }): ScanResult {
  const to = Math.max(start, Math.min(highestId, upTo));
  return { to, entries: 0, sets: [], isAtEnd: highestId <= to, hasFalseVictims: false, heldBack: new Set() };
}
