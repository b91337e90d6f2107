/**
 * The batch: Marmot's own message, many change events of one table. What the numbers mean is in docs/design.md,
 * "Numbers"; how it is written down is in batch_codec.ts.
 */
import type { Value } from "./value.ts";

/** An unsigned 64-bit number that names a node. */
export type NodeId = bigint & { readonly brand?: "NodeId" };

/** A row's new image: one value per column of the batch. */
export interface Upsert {
  readonly kind: "upsert";
  readonly row: readonly Value[];
}

/** A row's deletion: one value per key column of the batch. */
export interface Deletion {
  readonly kind: "delete";
  readonly key: readonly Value[];
}

/** All rows of a key that contains NULL, which names any number of rows: delete all, then insert these. */
export interface RowList {
  readonly kind: "list";
  readonly key: readonly Value[];
  readonly rows: readonly (readonly Value[])[];
}

export type ChangeEvent = Upsert | Deletion | RowList;

export interface Batch {
  /** The node whose application made the changes. */
  readonly origin: NodeId;
  /** One life of the origin's process; a later life has a higher run. Milliseconds since 1970 as a rule. */
  readonly run: number;
  /** Counts the messages of the run in this stream, from 1, with gaps where a publish failed. */
  readonly number: number;
  /** The highest change log id of the origin that these images cover. */
  readonly top: number;
  readonly table: string;
  /** Names of the columns of every row; null stands for the rowid of a table that has no key of its own. */
  readonly columns: readonly (string | null)[];
  /** The key: positions in `columns`. */
  readonly key: readonly number[];
  /** Describes the UNIQUE indexes of the table at the origin, "" for none. */
  readonly uniqueSignature: string;
  readonly events: readonly ChangeEvent[];
}

/** One event of the original v0.6: one row by column name. */
export interface RowEventV06 {
  readonly origin: NodeId;
  readonly type: "insert" | "update" | "delete";
  readonly table: string;
  readonly row: ReadonlyMap<string, Value>;
}
