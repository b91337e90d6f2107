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

/**
 * A piece of a table image: of the keys in its range, the batch names all that have rows. It goes as one batch with
 * these rows; a reader deletes what else it has there. See docs/design.md, "Uncaptured windows".
 */
export interface TableImage {
  /** Which image of the origin it is a piece of: a later one of the same table has a higher id. */
  readonly id: number;
  /** How many rows the table has at the origin; null in all pieces but the first. */
  readonly rows: number | null;
  /** Equal at two nodes exactly if they order keys alike. */
  readonly keyOrder: string;
  /** The range begins behind this key, which holds no NULL; null: with the first, keys that hold NULL included. */
  readonly after: readonly Value[] | null;
  /** The range ends with this key, which holds no NULL; null: with the last. */
  readonly upTo: readonly Value[] | null;
}

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
  /** Left out of a batch that is no piece of an image. */
  readonly image?: TableImage;
}

/** One event of the original v0.6: one row by column name. */
export interface RowEventV06 {
  readonly origin: NodeId;
  readonly type: "insert" | "update" | "delete";
  readonly table: string;
  readonly row: ReadonlyMap<string, Value>;
}
