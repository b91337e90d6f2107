/**
 * The entries of the change log that are not settled, by row: what decides whether a remote event may write a row.
 * The map in memory mirrors the log; whoever decides by it calls `load` or `loadOnDemand` first, in the same transaction,
 * so that no application write slips between. A victim entry counts only while its row is absent.
 */
import { BacklogError } from "../../errors.ts";
import type { Value } from "../../wire/value.ts";
import type { ArmedTables } from "../rows/armed_tables.ts";
import { type ChangeLog, keyOfEntry, type LogEntry, ranges } from "./change_log.ts";
import type { Echo, RetainedEntries } from "./retained_entries.ts";
import { hasNull, type KeyIdentity } from "../schema/key.ts";
import { entryKinds } from "../state/state_tables.ts";

interface Entry {
  readonly id: number;
  readonly kind: number;
  /** The entry of the same row that was captured before it. */
  readonly before: Entry | undefined;
  /** Whether it or an entry before it is a victim. */
  readonly hasVictim: boolean;
}

/** A change's id alone, where it is the only entry of its row: there may be a million of them. */
type HeldEntry = number | Entry;

/** What an own message ended, once it was read back. */
interface EchoedEntries {
  readonly echo: Echo;
  readonly ids: readonly number[];
  readonly displaced: readonly DisplacedRow[];
}

interface DisplacedRow {
  readonly tableId: number;
  readonly key: readonly Value[];
}

/** How much was ended since the last trim. */
export interface EndedMark {
  readonly done: number;
  readonly settled: number;
  readonly displaced: number;
}

/** Entries that are read at once: more would hold the write lock for too long. */
export const LOAD_LIMIT = 5_000;

export class PendingChanges {
  readonly #log: ChangeLog;
  readonly #tables: ArmedTables;
  readonly #retained: RetainedEntries;
  readonly #loadLimit: number;
  readonly #rows = new Map<number, Map<KeyIdentity, HeldEntry>>();
  #loadedTo = 0;
  /** Whether all was taken in that the transaction at hand can see. */
  #isWhole = false;
  /** Entries to delete in the next write: ended backfill, and victims whose row is there. */
  #done: number[] = [];
  /** Entries that the message at hand has settled, and the rows that it displaced. */
  #settled: number[] = [];
  #displaced: DisplacedRow[] = [];
  /** What own messages before it have settled in this transaction. */
  #echoed: EchoedEntries[] = [];
  /** The settled entry that holds the highest id; it goes once a higher one is settled. */
  #kept: number | undefined;

  constructor(log: ChangeLog, tables: ArmedTables, retained: RetainedEntries, loadLimit = LOAD_LIMIT) {
    this.#log = log;
    this.#tables = tables;
    this.#retained = retained;
    this.#loadLimit = loadLimit;
  }

  /** Takes in all that was captured. Call inside a transaction. */
  load(): void {
    while (this.loadSome());
    this.#isWhole = true;
  }

  /**
   * From here on each question takes in what its answer needs: an own message that is read back, no more than was published
   * by then. A question throws BacklogError where that is more than `LOAD_LIMIT`. Call inside a transaction.
   */
  loadOnDemand(): void {
    this.#isWhole = false;
  }

  /** Takes in all that was captured, if it is no more than `LOAD_LIMIT`; else returns false. Call inside a transaction. */
  tryLoad(): boolean {
    if (!this.#isWhole && this.isFarBehind()) return false;
    if (!this.#isWhole) this.load();
    return true;
  }

  /** Whether more was captured than can be taken in at once. */
  isFarBehind(): boolean {
    // Ids have gaps where entries were settled.
    return this.#log.highestId() - this.#loadedTo > this.#loadLimit &&
      this.#log.hasMoreThan(this.#loadLimit, this.#loadedTo);
  }

  /** Takes in some of what was captured, and returns whether there may be more. Call inside a transaction. */
  loadSome(): boolean {
    // Far cheaper than to read nothing.
    if (this.#log.highestId() <= this.#loadedTo) return false;
    const entries = this.#log.read(this.#loadedTo, this.#loadLimit);
    this.take(this.#loadedTo, entries);
    return entries.length === this.#loadLimit;
  }

  /** Takes in entries that somebody else has read: all that follow `after`, up to the last of them. Call inside that transaction. */
  take(after: number, entries: readonly LogEntry[]): void {
    if (after > this.#loadedTo) return;
    for (const entry of entries) {
      if (entry.id <= this.#loadedTo) continue;
      if (entry.kind === entryKinds.settled) this.#keep(entry.id);
      else this.#add(entry);
      this.#loadedTo = entry.id;
    }
  }

  /** Whether a local change of the row is not settled. */
  isPending(tableId: number, identity: KeyIdentity): boolean {
    this.#need();
    return some(this.#newest(tableId, identity), (entry) => entry.kind !== entryKinds.backfill);
  }

  /** Whether a local change of any row of the table is not settled. */
  hasPending(tableId: number): boolean {
    this.#need();
    const rows = this.#rows.get(tableId)?.values() ?? [];
    for (const held of rows) {
      if (some(released(held), ({ kind }) => kind !== entryKinds.backfill)) return true;
    }
    return false;
  }

  /** Whether the row has entries, and each of them has an id up to `top`. */
  isCovered(tableId: number, identity: KeyIdentity, top: number): boolean {
    this.#need();
    const newest = this.#newest(tableId, identity);
    return newest !== undefined && newest.id <= top;
  }

  /** Ends the row's entries up to `top`, and returns whether a local change was among them. */
  settle(tableId: number, identity: KeyIdentity, top: number): boolean {
    this.#need(top);
    return this.#end(tableId, identity, { isOver: (entry) => entry.id <= top, into: this.#settled });
  }

  /** Notes that an own message has displaced a row: the message's end is the row's as well. */
  noteDisplaced(tableId: number, key: readonly Value[]): void {
    this.#displaced.push({ tableId, key });
  }

  /** Ends a message: what it has settled is kept with the place where it stands. */
  endMessage(echo: Echo): void {
    if (this.#settled.length === 0 && this.#displaced.length === 0) return;
    this.#echoed.push({ echo, ids: this.#settled, displaced: this.#displaced });
    this.#settled = [];
    this.#displaced = [];
  }

  /** Ends the row's backfill entries: another event has said what the row is. */
  endBackfill(tableId: number, identity: KeyIdentity): void {
    this.#need();
    this.#end(tableId, identity, {
      isOver: (entry) => entry.kind === entryKinds.backfill,
      into: this.#done,
    });
  }

  /** Forgets all: the log is read again. For transactions that were rolled back, and after arming. */
  reset(): void {
    this.#rows.clear();
    this.#loadedTo = 0;
    this.#isWhole = false;
    this.#done = [];
    this.#settled = [];
    this.#displaced = [];
    this.#echoed = [];
    this.#kept = undefined;
  }

  /** How much the message at hand has ended; `undo` goes back to there. */
  get ended(): EndedMark {
    return {
      done: this.#done.length,
      settled: this.#settled.length,
      displaced: this.#displaced.length,
    };
  }

  /** Takes back what was ended since `ended` was asked: a savepoint was rolled back. Call in the write transaction. */
  undo({ done, settled, displaced }: EndedMark, nowMs: number): void {
    this.#displaced.length = displaced;
    if (this.#done.length === done && this.#settled.length === settled) return;
    this.#done.length = done;
    this.#settled.length = settled;
    const loadedTo = this.#loadedTo;
    this.trim(nowMs);
    this.reset();
    while (this.#loadedTo < loadedTo && this.loadSome());
  }

  /** Deletes from the log what is done, and keeps of it what own messages have settled. Call last in a write transaction. */
  trim(nowMs: number): void {
    for (const { echo, ids, displaced } of this.#echoed) {
      this.#retained.keep(echo, { ranges: ranges(ids), displaced, atMs: nowMs });
    }
    const ended = this.#done.concat(this.#settled, ...this.#echoed.map(({ ids }) => ids));
    this.#done = [];
    this.#settled = [];
    this.#echoed = [];
    if (ended.length === 0) return;
    if (this.#kept !== undefined) ended.push(this.#kept);
    this.#kept = this.#log.delete(ended);
    this.#retained.trim(nowMs);
  }

  /** Takes in what was captured up to an id at least. */
  #need(upTo = Infinity): void {
    if (upTo > this.#loadedTo && !this.tryLoad()) throw new BacklogError();
  }

  #newest(tableId: number, identity: KeyIdentity): Entry | undefined {
    return released(this.#rows.get(tableId)?.get(identity));
  }

  #keep(id: number): void {
    if (this.#kept !== undefined && this.#kept !== id) this.#done.push(this.#kept);
    this.#kept = id;
  }

  /** Nothing is taken in of an entry where SQLite fails: it is read again. */
  #add(logged: LogEntry): void {
    const { tableId, id, kind } = logged;
    const table = this.#tables.byId(tableId);
    if (!table) return;
    const rows = this.#rows.get(tableId) ?? new Map<KeyIdentity, HeldEntry>();
    const key = keyOfEntry(logged, table);
    const identity = table.rows.identityOf(key);
    const entry = entryBehind(released(rows.get(identity)), id, kind);
    const isFalseVictim = entry.hasVictim && !hasNull(key) && table.rows.has(key);
    this.#rows.set(tableId, rows);
    rows.set(identity, held(entry));
    if (isFalseVictim) {
      this.#end(tableId, identity, { isOver: (e) => e.kind === entryKinds.victim, into: this.#done });
    }
  }

  #end(
    tableId: number,
    identity: KeyIdentity,
    { isOver, into }: { isOver: (entry: Entry) => boolean; into: number[] },
  ): boolean {
    const rows = this.#rows.get(tableId);
    const left: Entry[] = [];
    let wasChange = false;
    for (let at = this.#newest(tableId, identity); at; at = at.before) {
      if (isOver(at)) {
        into.push(at.id);
        wasChange ||= at.kind !== entryKinds.backfill;
      } else {
        left.push(at);
      }
    }
    const newest = left.reduceRight<Entry | undefined>(
      (before, e) => entryBehind(before, e.id, e.kind),
      undefined,
    );
    if (newest) rows?.set(identity, held(newest));
    else rows?.delete(identity);
    return wasChange;
  }
}

function entryBehind(before: Entry | undefined, id: number, kind: number): Entry {
  return { id, kind, before, hasVictim: kind === entryKinds.victim || (before?.hasVictim ?? false) };
}

function held(entry: Entry): HeldEntry {
  return entry.kind === entryKinds.change && entry.before === undefined ? entry.id : entry;
}

function released(held: HeldEntry | undefined): Entry | undefined {
  return typeof held === "number" ? entryBehind(undefined, held, entryKinds.change) : held;
}

function some(entry: Entry | undefined, test: (entry: Entry) => boolean): boolean {
  for (let at = entry; at; at = at.before) if (test(at)) return true;
  return false;
}
