/**
 * What this node does in its database where it cannot simply read on in a stream: it goes back where the stream has lost its
 * end, goes on elsewhere at the operator's command, or takes a snapshot over where it has missed messages.
 */
import type { Value } from "../wire/value.ts";
import { decodeMessage } from "../wire/message.ts";
import type { IncomingMessage } from "./apply/applier.ts";
import { moveStream, type StreamTarget } from "./apply/stream_move.ts";
import type { Echo, RetainedEntries } from "./capture/retained_entries.ts";
import type { ArmedTable } from "./rows/armed_tables.ts";
import {
  type MergedReplica,
  type MergeRequest,
  type SavedReplica,
  SnapshotMerge,
} from "./snapshot/snapshot_merge.ts";
import { dropMergeWish, readMergeWish, readMerging } from "./state/merge_wish.ts";
import { readMeta, writeMeta } from "./state/meta.ts";
import {
  endFirst,
  isResyncWanted,
  readResync,
  type ResyncFrom,
  type StreamMove,
  takeUpResync,
  wantedOf,
} from "./state/resync_request.ts";
import type { StreamPosition } from "./state/stream_positions.ts";

/** Keys that are looked at together. */
const PAGE = 500;

export interface RecoveryParts extends MergedReplica {
  readonly retained: RetainedEntries;
  /** Runs work in a write transaction, whatever the schema is. */
  readonly writeAnyway: <T>(work: () => T) => T;
  /** Reads what is kept in memory from the database again. */
  readonly reload: () => void;
}

export class Recovery {
  readonly #here: RecoveryParts;

  constructor(here: RecoveryParts) {
    this.#here = here;
  }

  /** Own messages of a stream that were read back and are kept, in the order in which they stand. */
  retainedEchoes(stream: string): Echo[] {
    return this.#here.retained.echoes(stream);
  }

  /** Whether a message of a stream was read here. Of the original's, which have no numbers, the time of storing tells. */
  hasRead(stream: string, message: Pick<IncomingMessage, "format" | "payload" | "storedAt">): boolean {
    const decoded = decodeMessage(message.format, message.payload);
    if (decoded.kind === "batch") {
      return this.#here.positions.isRead(stream, decoded.envelope.origin, decoded.envelope);
    }
    return Date.parse(message.storedAt) <= Date.parse(this.#here.positions.get(stream).storedAt);
  }

  /**
   * Goes back in a stream that has lost its end, and logs as backfill what this node had published behind `agreed`, the
   * last sequence that the stream still has as it was. Returns how many rows that are. Throws DatabaseBusyError.
   */
  goBack(position: StreamPosition, agreed: number): number {
    return this.#here.writeAnyway(() => {
      this.#here.positions.set(position);
      this.#here.positions.save();
      this.#here.images.goBack(position.name, agreed);
      return this.#here.retained.reopen(position.name, agreed);
    });
  }

  /** Whether an operator wants streams to be read from somewhere else. */
  get isResyncWanted(): boolean {
    return isResyncWanted(readResync(this.#here.connection));
  }

  /**
   * What an operator wants of the streams: the shards to be moved, and numbers that no shard has; undefined where nothing is
   * wanted. Throws DatabaseBusyError.
   */
  takeUpResync(shardCount: number): { shards: number[]; refused: number[] } | undefined {
    if (!this.isResyncWanted) return undefined;
    return this.#here.writeAnyway(() => takeUpResync(this.#here.connection, shardCount));
  }

  /** Where the operator wants a shard to be read from; null: where it is. */
  resyncFrom(shard: number): ResyncFrom | null {
    return wantedOf(readResync(this.#here.connection), shard);
  }

  /** Moves a shard's stream where the operator wants it, which is on record from then on. Throws DatabaseBusyError. */
  moveStream(shard: number, target: StreamTarget): StreamMove {
    const { connection, positions, parked, reload } = this.#here;
    const move = this.#here.writeAnyway(() => moveStream(connection, { shard, target, positions, parked }));
    reload();
    return move;
  }

  /** Ends the operator's wish that a shard is read from its first message: it is. Throws DatabaseBusyError. */
  endFirst(shard: number): void {
    this.#here.writeAnyway(() => endFirst(this.#here.connection, shard));
  }

  /** Takes a stream's tables over from a snapshot: see SnapshotMerge. Throws SchemaMismatchError where the schema does not fit yet. */
  snapshotMerge(saved: SavedReplica, request: MergeRequest): SnapshotMerge {
    return new SnapshotMerge(this.#here, saved, request);
  }

  /** Whether this node has to take a snapshot of a stream over though it may have read all of it: see merge_wish.ts. */
  isMergeWished(stream: string): boolean {
    const { connection } = this.#here;
    return readMerging(connection).includes(stream) || readMergeWish(connection).includes(stream);
  }

  /**
   * Whether no stream was ever read here, though there are rows that are not about to be published and that came with no
   * snapshot: nobody knows where they come from.
   */
  isStranger(): boolean {
    const { positions, connection } = this.#here;
    if (!positions.isEmpty || readMeta(connection, "snapshot") !== undefined) return false;
    return this.#here.connection.read(() => {
      this.#here.pending.load();
      return this.#here.tables.all().some((table) => this.#hasForeignRow(table));
    });
  }

  /** Puts on record with which snapshot this database begins: it may be from before any stream was read. */
  beginWith(snapshot: string): void {
    this.#here.writeAnyway(() => writeMeta(this.#here.connection, "snapshot", snapshot));
  }

  #hasForeignRow(table: ArmedTable): boolean {
    const { ranges, rows, id } = table;
    for (let after: readonly Value[] | null = null;;) {
      const keys = ranges.keys({ after, upTo: null }, PAGE);
      if (keys.some((key) => !this.#here.pending.isCovered(id, rows.identityOf(key), Infinity))) return true;
      const last = keys.at(-1);
      if (!last || keys.length < PAGE) return false;
      after = last;
    }
  }

  /** Forgets that the operator wants a snapshot of a stream; false where none is wished, or it has begun to be taken over. */
  dropMergeWish(stream: string): boolean {
    return this.#here.writeAnyway(() => dropMergeWish(this.#here.connection, stream));
  }
}
