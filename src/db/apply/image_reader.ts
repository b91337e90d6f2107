/**
 * What a piece of a table image means here: the rows of its range that it does not name are gone at its origin, and are
 * deleted. Kept are rows with changes of this node that are not published yet, and those that this node's own image
 * of the table has still to tell of. The rules: docs/design.md, "Uncaptured windows".
 */
import { SchemaMismatchError, TooManyDeletionsError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import type { NodeId, TableImage } from "../../wire/batch.ts";
import type { Value } from "../../wire/value.ts";
import type { PendingChanges } from "../capture/pending_changes.ts";
import type { Connection } from "../connection.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import { mapColumns } from "../rows/column_mapping.ts";
import type { KeyRange } from "../rows/key_ranges.ts";
import type { KeyIdentity } from "../schema/key.ts";
import type { DueImage, DueImages } from "../state/due_images.ts";
import type { HiddenRows } from "./hidden_rows.ts";

/** Rows that are deleted in one transaction, so that the application need not wait. */
const MAX_DELETIONS = 500;
const PAGE = 1000;

export interface ImageReaderParts {
  readonly images: DueImages;
  readonly pending: PendingChanges;
  readonly hidden: HiddenRows;
  readonly log: Log;
  /** How many percent of a table's rows an image may delete. */
  readonly maxDeletesPercent: number;
}

export interface PieceOfImage {
  readonly image: TableImage;
  readonly origin: NodeId;
  readonly isOwn: boolean;
  /** Whether all of it must happen in one transaction. */
  readonly isAtOnce: boolean;
  /** The rows that it brings, and what else it says. */
  readonly named: ReadonlySet<KeyIdentity>;
  /** For each local key column its index in the piece's keys. */
  readonly keyInKey: readonly number[];
}

export interface RowName {
  readonly key: readonly Value[];
  readonly identity: KeyIdentity;
}

export interface MissingRows {
  readonly rows: readonly RowName[];
  /** Whether there are more, which another transaction has to find. */
  readonly isUnfinished: boolean;
}

export class ImageReader {
  readonly #connection: Connection;
  readonly #parts: ImageReaderParts;
  /** Images of which the operator was asked. */
  readonly #asked = new Set<string>();

  constructor(connection: Connection, parts: ImageReaderParts) {
    this.#connection = connection;
    this.#parts = parts;
  }

  /**
   * The rows to delete. Throws SchemaMismatchError where keys are ordered otherwise here, TooManyDeletionsError where the
   * operator has to be asked.
   */
  findMissing(table: ArmedTable, piece: PieceOfImage): MissingRows {
    const { image } = piece;
    const isOrdered = image.keyOrder === table.memory.keyOrder &&
      piece.keyInKey.every((index, i) => index === i);
    if (!isOrdered) {
      // A piece from before this node's migration, which makes an image of the table due here.
      const isFormer = piece.isOwn || table.memory.formerKeyOrders?.includes(image.keyOrder);
      if (isFormer) return { rows: [], isUnfinished: false };
      throw new SchemaMismatchError(
        `Cannot take over the content of table "${table.schema.name}" from node ${piece.origin}: its key has other types or collations there`,
      );
    }
    // Of these rows this node's own image has still to tell: all of them are kept.
    if (piece.isOwn && this.#parts.images.get(table.id)) {
      return { rows: this.#findHidden(table, piece), isUnfinished: false };
    }
    const deleted = this.#checkBegin(table, piece);
    const limit = piece.isAtOnce ? Infinity : MAX_DELETIONS;
    const rows = this.#findRows(table, piece, limit + 1);
    const isUnfinished = rows.length > limit;
    if (isUnfinished) rows.length = limit;
    this.#checkShare(table, piece, deleted + rows.length);
    const progress = [BigInt(table.id), piece.origin.toString()];
    if (image.upTo === null && !isUnfinished) {
      this.#connection.statement("DELETE FROM __marmot__image_read WHERE table_id = ? AND origin = ?").run(
        progress,
      );
    } else if (rows.length > 0) {
      this.#connection.statement(
        "UPDATE __marmot__image_read SET deleted = deleted + ? WHERE table_id = ? AND origin = ?",
      ).run([BigInt(rows.length), ...progress]);
    }
    return { rows: [...rows, ...(isUnfinished ? [] : this.#findHidden(table, piece))], isUnfinished };
  }

  /**
   * Tells the rows of which this node's own image has still to tell: its own earlier events say nothing about them.
   * Undefined where there are none.
   */
  spared(table: ArmedTable): ((key: readonly Value[]) => boolean) | undefined {
    const due = this.#parts.images.get(table.id);
    return due && ((key) => table.ranges.contains(restOf(due), key));
  }

  /** Notes how many rows there are when an image begins. Returns how many it has deleted. */
  #checkBegin(table: ArmedTable, { image, origin }: PieceOfImage): number {
    const name = [BigInt(table.id), origin.toString()];
    const known = this.#connection.statement(
      "SELECT image, deleted FROM __marmot__image_read WHERE table_id = ? AND origin = ?",
    ).get(name);
    if (known && Number(known[0]) === image.id) return Number(known[1]);
    this.#connection.statement(
      "INSERT OR REPLACE INTO __marmot__image_read (table_id, origin, image, rows, missing, deleted) VALUES (?, ?, ?, ?, ?, 0)",
    ).run([
      ...name,
      BigInt(image.id),
      ...this.#countMissing(table, image),
    ]);
    return 0;
  }

  #countMissing(table: ArmedTable, image: TableImage): [bigint, bigint] {
    const rows = table.ranges.countRows();
    const missing = image.rows === null ? 0 : Math.max(0, rows - image.rows);
    return [BigInt(rows), BigInt(missing)];
  }

  /** Asks the operator where an image deletes too much: at its beginning, as far as that can be known. */
  #checkShare(table: ArmedTable, { image, origin, isOwn }: PieceOfImage, deleted: number): void {
    const { maxDeletesPercent, log } = this.#parts;
    if (maxDeletesPercent >= 100 || isOwn) return;
    const [rows = 0, missing = 0] = this.#connection.statement(
      "SELECT rows, missing FROM __marmot__image_read WHERE table_id = ? AND origin = ?",
    ).get([BigInt(table.id), origin.toString()])?.map(Number) ?? [];
    const expected = Math.max(missing, deleted);
    if (expected * 100 <= rows * maxDeletesPercent) return;
    const name = table.schema.name;
    const reason =
      `Cannot take over the content of table "${name}" from node ${origin}: ${expected} of its ${rows} rows or more are ` +
      `missing there, and -max-image-deletes allows ${maxDeletesPercent} percent`;
    const asked = `${table.id} ${origin} ${image.id}`;
    if (!this.#asked.has(asked)) {
      this.#asked.add(asked);
      log.error(
        "rows are missing on another node that changed its table without capture: delete them here too?",
        {
          table: name,
          origin,
          rows,
          missing: expected,
          toDelete: "start this node again with -max-image-deletes 100",
          toKeep: "write the rows again on the other node, then start this one with -max-image-deletes 100",
        },
      );
    }
    throw new TooManyDeletionsError(reason);
  }

  #findRows(table: ArmedTable, { image, named }: PieceOfImage, limit: number): RowName[] {
    const due = this.#parts.images.get(table.id);
    const found = new Map<KeyIdentity, RowName>();
    const look = (key: readonly Value[]) => {
      const identity = table.rows.identityOf(key);
      if (named.has(identity) || this.#parts.pending.isCovered(table.id, identity, Infinity)) return;
      found.set(identity, { key, identity });
    };
    if (due && due.reached === null) return [];
    if (image.after === null) { for (const key of table.ranges.keysWithNull()) look(key); }
    const isShielded = due !== undefined &&
      (image.upTo === null || table.ranges.contains(restOf(due), image.upTo));
    let range: KeyRange = { after: image.after, upTo: isShielded ? due.reached : image.upTo };
    while (found.size < limit) {
      const keys = table.ranges.keys(range, PAGE);
      for (const key of keys) if (found.size < limit) look(key);
      const last = keys.at(-1);
      if (last === undefined || keys.length < PAGE) break;
      range = { ...range, after: last };
    }
    return [...found.values()];
  }

  #findHidden(table: ArmedTable, { image, named, isOwn }: PieceOfImage): RowName[] {
    const due = this.#parts.images.get(table.id);
    return this.#parts.hidden.all(table.id).flatMap((hidden) => {
      const event = hidden.body.events[0];
      if (event === undefined || named.has(hidden.identity)) return [];
      const { keyInRow, keyInKey } = mapColumns(table, hidden.body);
      const key = event.kind === "upsert"
        ? keyInRow.map((index) => event.row[index] ?? null)
        : keyInKey.map((index) => event.key[index] ?? null);
      const isMeant = table.ranges.contains(image, key) &&
        (isOwn || due === undefined || !table.ranges.contains(restOf(due), key));
      return isMeant ? [{ key, identity: hidden.identity }] : [];
    });
  }
}

/** The keys of which an image has still to tell. */
function restOf({ reached }: DueImage): KeyRange {
  return { after: reached, upTo: null };
}
