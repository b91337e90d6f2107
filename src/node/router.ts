/**
 * Which shard a change goes to. Marmot's own format routes by table, so that each table has one total order; the
 * original's by the hash of the row's key.
 */
import type { ArmedTable } from "../db/rows/armed_tables.ts";
import { columnAt } from "../db/rows/row_access.ts";
import { shardOfHash, shardOfTable } from "../wire/routing.ts";
import { rowHash } from "../wire/row_hash.ts";
import type { Value } from "../wire/value.ts";

export class Router {
  readonly #wireFormat: "batch" | "v0.6";
  readonly #shards: number;
  readonly #byTable = new Map<string, number>();

  constructor(wireFormat: "batch" | "v0.6", shards: number) {
    this.#wireFormat = wireFormat;
    this.#shards = shards;
  }

  /** The shard of the row with this key. */
  readonly shardOf = (table: ArmedTable, key: readonly Value[]): number => {
    if (this.#wireFormat === "batch") return this.#shardOfTable(table.firstName);
    const columns = table.schema.key.map((position, i) =>
      [columnAt(table.schema, position).name ?? "rowid", key[i] ?? null] as const
    );
    return shardOfHash(rowHash(table.schema.name, columns), this.#shards);
  };

  /** All shards that changes of the table go to. */
  readonly shardsOf = (table: ArmedTable): readonly number[] => {
    if (this.#wireFormat === "batch") return [this.#shardOfTable(table.firstName)];
    return Array.from({ length: this.#shards }, (_, i) => i + 1);
  };

  #shardOfTable(table: string): number {
    let shard = this.#byTable.get(table);
    if (shard === undefined) {
      shard = shardOfTable(table, this.#shards);
      this.#byTable.set(table, shard);
    }
    return shard;
  }
}
