/**
 * What a table of a snapshot has otherwise than the live one, as events that make the live one like it: page by page in the
 * order of the keys, so that each look is short whatever the size of the table.
 */
import { SchemaMismatchError } from "../../errors.ts";
import type { ChangeEvent } from "../../wire/batch.ts";
import type { Value } from "../../wire/value.ts";
import { isSameRow } from "../apply/keyed_events.ts";
import { sizeOf } from "../capture/change_event.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import { mapColumns } from "../rows/column_mapping.ts";
import type { KeyRange } from "../rows/key_ranges.ts";
import type { BatchMapping } from "../rows/row_access.ts";
import type { KeyIdentity } from "../schema/key.ts";

/** Rows of a page at first and at most; fewer where they are large. */
const ROWS = { first: 32, most: 250 };
/** Bytes of a page aimed at. */
const PAGE_BYTES = 512 * 1024;

export interface TablePair {
  /** The table of this node. */
  readonly live: ArmedTable;
  /** The same one in the snapshot. */
  readonly saved: ArmedTable;
  /** Whether a row is meant. */
  readonly isMeant: (key: readonly Value[]) => boolean;
  /** Whether a row of this node stays though the snapshot does not have it. */
  readonly isSpared: (key: readonly Value[], identity: KeyIdentity) => boolean;
}

export interface DifferentRows {
  readonly events: readonly ChangeEvent[];
  /** Rows that were compared. */
  readonly rows: number;
}

interface KeyedRow {
  readonly row: readonly Value[];
  readonly key: readonly Value[];
}

export class TableDifference {
  readonly #pair: TablePair;
  readonly #mapping: BatchMapping;
  #limit = ROWS.first;
  /** The key behind which the next page begins; undefined before the first page. */
  #after: readonly Value[] | null | undefined;
  #isAtEnd = false;

  /** Throws SchemaMismatchError where the tables cannot be compared: this node's schema has to move first. */
  constructor(pair: TablePair) {
    const { live, saved } = pair;
    this.#pair = pair;
    this.#mapping = mapColumns(live, {
      table: live.schema.name,
      columns: saved.schema.columns.map((column) => column.name),
      key: saved.schema.key,
      uniqueSignature: saved.schema.uniqueSignature,
      events: [],
    });
    const isOrdered = live.memory.keyOrder === saved.memory.keyOrder &&
      this.#mapping.keyInKey.every((index, i) => index === i);
    if (isOrdered) return;
    throw new SchemaMismatchError(
      `Cannot take over table "${live.schema.name}" of the snapshot: its key has other types or collations there`,
    );
  }

  get isAtEnd(): boolean {
    return this.#isAtEnd;
  }

  /** The next page. Call inside a transaction of the live database; nobody else writes the snapshot. */
  next(): DifferentRows {
    if (this.#after === undefined) {
      this.#after = null;
      return this.#keysWithNull();
    }
    const range = { after: this.#after, upTo: this.#findEnd(this.#after) };
    const { live, saved, isMeant } = this.#pair;
    const there = this.#savedRows(saved.ranges.rows(range));
    const here = live.ranges.rows(range).map((row) => ({ row, key: live.rows.keyOf(row) }))
      .filter(({ key }) => isMeant(key));
    const events = this.#compare(here, there);
    this.#adapt([...there.values(), ...here]);
    this.#after = range.upTo;
    this.#isAtEnd = range.upTo === null;
    return { events, rows: Math.max(here.length, there.size) };
  }

  /** The last key of the page that begins behind `after`; null where it is the last page. */
  #findEnd(after: readonly Value[] | null): readonly Value[] | null {
    const { live, saved } = this.#pair;
    const rest: KeyRange = { after, upTo: null };
    const [here, there] = [live, saved].map(({ ranges }) => {
      const keys = ranges.keys(rest, this.#limit);
      return keys.length < this.#limit ? undefined : keys.at(-1);
    });
    if (!here || !there) return here ?? there ?? null;
    return live.ranges.contains({ after: null, upTo: there }, here) ? here : there;
  }

  #savedRows(rows: readonly (readonly Value[])[]): Map<KeyIdentity, KeyedRow> {
    const { live, isMeant } = this.#pair;
    const byKey = new Map<KeyIdentity, KeyedRow>();
    for (const row of rows) {
      const key = this.#mapping.keyInRow.map((index) => row[index] ?? null);
      if (isMeant(key)) byKey.set(live.rows.identityOf(key), { row, key });
    }
    return byKey;
  }

  #compare(here: readonly KeyedRow[], there: ReadonlyMap<KeyIdentity, KeyedRow>): ChangeEvent[] {
    const { live, isSpared } = this.#pair;
    const gone: ChangeEvent[] = [];
    const left = new Map(there);
    for (const { row, key } of here) {
      const identity = live.rows.identityOf(key);
      const wanted = left.get(identity);
      if (!wanted) {
        if (!isSpared(key, identity)) gone.push({ kind: "delete", key });
      } else if (this.#isSame(row, wanted.row)) left.delete(identity);
    }
    return [...gone, ...[...left.values()].map(({ row }): ChangeEvent => ({ kind: "upsert", row }))];
  }

  #isSame(row: readonly Value[], wanted: readonly Value[]): boolean {
    const { targets, sources } = this.#mapping.columns;
    return isSameRow(targets, row, sources.map((source) => wanted[source] ?? null));
  }

  /** Keys that hold NULL have no place in the order: all of them first, each with all its rows. */
  #keysWithNull(): DifferentRows {
    const { live, saved, isMeant, isSpared } = this.#pair;
    const keys = new Map<KeyIdentity, { key: readonly Value[]; isThere: boolean }>();
    const note = (key: readonly Value[], isThere: boolean) => {
      const identity = live.rows.identityOf(key);
      if (isMeant(key)) {
        keys.set(identity, { key, isThere: isThere || (keys.get(identity)?.isThere ?? false) });
      }
    };
    for (const key of live.ranges.keysWithNull()) note(key, false);
    for (const key of saved.ranges.keysWithNull()) note(key, true);
    const events: ChangeEvent[] = [];
    for (const [identity, { key, isThere }] of keys) {
      if (!isThere && isSpared(key, identity)) continue;
      const rows = isThere ? saved.rows.read(key) : [];
      const here = live.rows.read(key);
      const isSame = here.length === rows.length && rows.every((row, i) => this.#isSame(here[i] ?? [], row));
      if (!isSame) events.push({ kind: "list", key, rows });
    }
    return { events, rows: keys.size };
  }

  /** The next page has as many rows as fit, going by this one. */
  #adapt(rows: readonly KeyedRow[]): void {
    if (rows.length === 0) return;
    let bytes = 0;
    for (const { row } of rows) bytes += sizeOf({ kind: "upsert", row });
    const fitting = Math.floor(PAGE_BYTES / (bytes / rows.length));
    this.#limit = Math.max(1, Math.min(ROWS.most, fitting, 4 * this.#limit));
  }
}
