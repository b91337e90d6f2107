/** Changes by table and shard, as they are found: of each row one, and in the order in which rows were first named. */
import type { ChangeEvent } from "../../wire/batch.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import type { KeyIdentity } from "../schema/key.ts";

/** Changes of one table for one shard. */
export interface ChangeSet {
  readonly shard: number;
  readonly table: ArmedTable;
  readonly events: ChangeEvent[];
}

interface TableChanges {
  readonly rows: Set<KeyIdentity>;
  readonly byShard: Map<number, ChangeSet>;
}

export class ChangeSets {
  readonly #tables = new Map<ArmedTable, TableChanges>();

  /** Whether this row of the table is named for the first time. */
  isNew(table: ArmedTable, row: KeyIdentity): boolean {
    const { rows } = this.#of(table);
    const before = rows.size;
    return rows.add(row).size > before;
  }

  add(table: ArmedTable, shard: number, event: ChangeEvent): void {
    const { byShard } = this.#of(table);
    let set = byShard.get(shard);
    if (!set) byShard.set(shard, set = { shard, table, events: [] });
    set.events.push(event);
  }

  all(): ChangeSet[] {
    return [...this.#tables.values()].flatMap(({ byShard }) => [...byShard.values()]);
  }

  #of(table: ArmedTable): TableChanges {
    let changes = this.#tables.get(table);
    if (!changes) this.#tables.set(table, changes = { rows: new Set(), byShard: new Map() });
    return changes;
  }
}
