/**
 * The rows that entries of the change log name, read ahead of who asks for them: one statement for many costs a fraction
 * of one for each. How far it reads goes by the size of the rows, so that large ones are not read for nothing.
 */
import type { ChangeEvent } from "../../wire/batch.ts";
import type { Value } from "../../wire/value.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import { hasNull } from "../schema/key.ts";
import type { ChangeLog, LogEntry } from "./change_log.ts";
import { readEvent, sizeOf } from "./change_event.ts";

/** Entries that are read ahead: as long as no row of the table has been read, and at most. */
const ENTRIES = { first: 2, most: 256 };
/** About as many bytes are read ahead. */
const BYTES = 128 * 1024;

interface Ahead {
  /** Index of the last entry that was read ahead. */
  readTo: number;
  rows: ReadonlyMap<number, Value[]>;
  /** Of the rows that were asked for so far. */
  count: number;
  bytes: number;
}

export class ImagesAhead {
  readonly #log: ChangeLog;
  readonly #entries: readonly LogEntry[];
  readonly #ahead = new Map<number, Ahead>();

  /** For one transaction: what is read is what it sees. */
  constructor(log: ChangeLog, entries: readonly LogEntry[]) {
    this.#log = log;
    this.#entries = entries;
  }

  /** What the rows of an entry's key are now. Entries of a table are asked for in their order. */
  read(table: ArmedTable, at: number, key: readonly Value[]): ChangeEvent {
    if (hasNull(key)) return readEvent(table, key);
    let ahead = this.#ahead.get(table.id);
    if (!ahead) this.#ahead.set(table.id, ahead = { readTo: -1, rows: new Map(), count: 0, bytes: 0 });
    if (at > ahead.readTo) this.#readOn(table, ahead, at);
    const row = ahead.rows.get(this.#entries[at]?.id ?? 0);
    const event: ChangeEvent = row ? { kind: "upsert", row } : { kind: "delete", key };
    ahead.count++;
    ahead.bytes += sizeOf(event);
    return event;
  }

  #readOn(table: ArmedTable, ahead: Ahead, at: number): void {
    const fitting = ahead.count === 0 ? ENTRIES.first : Math.floor(BYTES * ahead.count / ahead.bytes);
    const count = Math.max(1, Math.min(ENTRIES.most, fitting));
    ahead.readTo = Math.min(this.#entries.length, at + count) - 1;
    const [from, to] = [this.#entries[at]?.id ?? 0, this.#entries[ahead.readTo]?.id ?? 0];
    ahead.rows = this.#log.readImages(table, from, to);
  }
}
