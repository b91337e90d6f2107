/**
 * Lists of rows whose key holds NULL, without those that clash with a later row of their own list: their origin lacks a
 * UNIQUE index that this node has. The later one stays, as of two events.
 */
import type { ChangeEvent } from "../../wire/batch.ts";
import type { Value } from "../../wire/value.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import type { BatchMapping } from "../rows/row_access.ts";

export class SoundLists {
  /** Keys of lists that had such rows, and these rows. */
  readonly reduced: { readonly key: readonly Value[]; readonly losing: readonly ChangeEvent[] }[] = [];

  constructor(readonly table: ArmedTable, readonly mapping: BatchMapping) {}

  /** The event as it can be written here. */
  take(event: ChangeEvent): ChangeEvent {
    if (event.kind !== "list" || event.rows.length < 2 || this.table.clashes.isEmpty) return event;
    const taken = new Set<string>();
    const rows: (readonly Value[])[] = [];
    const losing: ChangeEvent[] = [];
    for (const row of event.rows.toReversed()) {
      const held = this.table.clashes.identities(this.mapping.columns, row)
        .flatMap((identity, i) => identity === null ? [] : [`${i} ${identity}`]);
      if (held.some((each) => taken.has(each))) losing.unshift({ kind: "upsert", row });
      else {
        for (const each of held) taken.add(each);
        rows.unshift(row);
      }
    }
    if (losing.length === 0) return event;
    const key = this.mapping.keyInKey.map((index) => event.key[index] ?? null);
    this.reduced.push({ key, losing });
    return { ...event, rows };
  }
}
