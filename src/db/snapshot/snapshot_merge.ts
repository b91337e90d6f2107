/**
 * Takes the tables of one stream over from a snapshot into the live database, in bounded transactions, while the
 * application writes: for a node that has missed messages. Its own changes that are not published stay, and are published
 * afterwards. The rules: docs/design.md, "Late nodes".
 */
import { MarmotError, SchemaMismatchError } from "../../errors.ts";
import type { ChangeEvent, NodeId } from "../../wire/batch.ts";
import type { Value } from "../../wire/value.ts";
import type { ConflictJournal } from "../apply/conflict_journal.ts";
import { noOutcome } from "../apply/apply_outcome.ts";
import type { HiddenRows } from "../apply/hidden_rows.ts";
import type { MessageParts } from "../apply/message_parts.ts";
import type { ParkedMessages } from "../apply/parked_messages.ts";
import type { TableApplier } from "../apply/table_applier.ts";
import type { UniqueAgreement } from "../apply/unique_agreement.ts";
import type { ChangeLog } from "../capture/change_log.ts";
import type { PendingChanges } from "../capture/pending_changes.ts";
import type { Connection } from "../connection.ts";
import type { ArmedTable, ArmedTables } from "../rows/armed_tables.ts";
import { takenIdError } from "../replica_identity.ts";
import type { DueImages } from "../state/due_images.ts";
import { beginMerging, endMerging } from "../state/merge_wish.ts";
import { entryKinds } from "../state/state_tables.ts";
import type { StreamPositions } from "../state/stream_positions.ts";
import { type DifferentRows, TableDifference } from "./table_difference.ts";

/** Entries of the change log that are read at once. */
const SETTLE_PAGE = 1000;
/** Bounds of one write transaction: the application waits for it. */
const WRITE = { rows: 250, milliseconds: 8 };

/** What the merge is done to. */
export interface MergedReplica {
  readonly connection: Connection;
  readonly nodeId: NodeId;
  readonly run: number;
  readonly tables: ArmedTables;
  readonly log: ChangeLog;
  readonly pending: PendingChanges;
  readonly hidden: HiddenRows;
  readonly parked: ParkedMessages;
  readonly parts: MessageParts;
  readonly journal: ConflictJournal;
  readonly agreement: UniqueAgreement;
  readonly images: DueImages;
  readonly positions: StreamPositions;
  readonly tableApplier: TableApplier;
  readonly nowMs: () => number;
  /** Runs work in a write transaction; undefined, and nothing is done, where the schema has changed since the tables were armed. */
  readonly write: <T>(work: () => T) => T | undefined;
  /** Whether the schema has changed since then. */
  readonly hasNewSchema: () => boolean;
}

/** The snapshot: an armed database that nobody else uses. */
export interface SavedReplica {
  readonly connection: Connection;
  readonly tables: ArmedTables;
  readonly positions: StreamPositions;
}

/** Own changes of which it is known where they stand: entries (after, upTo] of a table. */
export interface StoredChanges {
  readonly tableId: number;
  readonly after: number;
  readonly upTo: number;
  /** The sequence of their last message. */
  readonly sequence: number;
}

export interface MergeRequest {
  readonly stream: string;
  /** Whose snapshot it is. */
  readonly savedBy: NodeId;
  /** Whether a row's changes go to the stream; the tables are of this node. */
  readonly isOfStream: (table: ArmedTable, key: readonly Value[]) => boolean;
  /** Whether any row of a table does. */
  readonly hasStream: (table: ArmedTable) => boolean;
  readonly stored: readonly StoredChanges[];
}

interface PairedTable {
  readonly live: ArmedTable;
  readonly saved: ArmedTable;
  readonly difference: TableDifference;
}

/** "schema": the schema has changed, another merge must begin. */
export type MergeStep = "more" | "done" | "schema";

export class SnapshotMerge {
  readonly #here: MergedReplica;
  readonly #saved: SavedReplica;
  readonly #request: MergeRequest;
  readonly #pairs: readonly PairedTable[];
  /** How many of these are done. */
  #done = 0;
  #hasBegun = false;
  #page: DifferentRows | undefined;
  #writtenAtOnce = WRITE.rows / 10;
  /** Rows that were compared, those that were written, and those that stayed because a change of them is pending. */
  readonly counts = { compared: 0, written: 0, kept: 0 };

  /**
   * Throws SchemaMismatchError where this node's schema does not fit the snapshot's yet, and another MarmotError where time
   * tells whether it does.
   */
  constructor(here: MergedReplica, saved: SavedReplica, request: MergeRequest) {
    this.#here = here;
    this.#saved = saved;
    this.#request = request;
    this.#checkIdentity();
    this.#pairs = this.#pairTables();
  }

  /** Does a bounded part. Throws DatabaseBusyError, and SchemaMismatchError where a row does not fit; then it can be called again. */
  step(): MergeStep {
    if (!this.#hasBegun) {
      this.#hasBegun = this.#here.write(() => this.#begin()) ?? false;
      return this.#hasBegun ? "more" : "schema";
    }
    const next = this.#pairs[this.#done];
    if (!next) return this.#here.write(() => this.#end()) ? "done" : "schema";
    return this.#takePage(next) ? "more" : "schema";
  }

  /** Puts on record what happens, and clears away what the snapshot decides. */
  #begin(): true {
    const { connection, pending, hidden, parked, positions } = this.#here;
    const { stream } = this.#request;
    beginMerging(connection, stream);
    pending.load();
    for (const stored of this.#request.stored) this.#settle(stored);
    parked.dropOf(positions.get(stream), {});
    for (const { live } of this.#pairs) hidden.dropAll(live.id);
    this.#here.tableApplier.finish();
    return true;
  }

  /** Ends own changes that the snapshot has: their messages stand before its cursor. */
  #settle({ tableId, after, upTo, sequence }: StoredChanges): void {
    const { log, tables, pending, journal } = this.#here;
    const { stream } = this.#request;
    const table = tables.byId(tableId);
    if (!table || sequence > this.#saved.positions.get(stream).cursor) return;
    for (let from = after; from < upTo;) {
      const entries = log.read(from, SETTLE_PAGE);
      for (const entry of entries) {
        // Backfill may have been held back.
        if (entry.id > upTo || entry.tableId !== tableId || entry.kind === entryKinds.backfill) continue;
        const key = entry.key.slice(0, table.schema.key.length);
        if (!this.#request.isOfStream(table, key)) continue;
        const identity = table.rows.identityOf(key);
        if (pending.settle(tableId, identity, upTo)) {
          journal.close({ tableId, identity }, { stream, sequence });
        }
      }
      from = entries.length < SETTLE_PAGE ? upTo : entries.at(-1)?.id ?? upTo;
    }
    pending.endMessage({ stream, sequence, storedAt: "" });
  }

  /** Makes part of a page of a table as the snapshot has it, but for rows whose changes are pending. */
  #takePage(next: PairedTable): boolean {
    const { connection } = this.#here;
    // What is left of a page, or found the database locked, is still to be written.
    const page = this.#page ??= connection.read(() => {
      if (this.#here.hasNewSchema()) return undefined;
      this.#here.pending.load();
      return next.difference.next();
    });
    if (!page) return false;
    const events = page.events.slice(0, this.#writtenAtOnce);
    if (events.length > 0 && !this.#here.write(() => this.#writeTimed(next, events))) return false;
    this.#page = { ...page, events: page.events.slice(events.length) };
    if (this.#page.events.length > 0) return true;
    this.#page = undefined;
    this.counts.compared += page.rows;
    if (next.difference.isAtEnd) this.#done++;
    return true;
  }

  /** The next write has as many rows as fit in the time, going by this one. */
  #writeTimed(next: PairedTable, events: readonly ChangeEvent[]): true {
    const { nowMs } = this.#here;
    const startMs = nowMs();
    this.#write(next, events);
    const perRowMs = Math.max(0.001, nowMs() - startMs) / events.length;
    this.#writtenAtOnce = Math.max(
      WRITE.rows / 10,
      Math.min(WRITE.rows, Math.floor(WRITE.milliseconds / perRowMs)),
    );
    return true;
  }

  #write({ live, saved }: PairedTable, events: readonly ChangeEvent[]): void {
    const { pending, tableApplier } = this.#here;
    const { stream, savedBy } = this.#request;
    const outcome = noOutcome();
    pending.load();
    const reason = tableApplier.tryBatch(live, {
      message: {
        stream,
        sequence: this.#saved.positions.get(stream).cursor,
        // It is nobody's answer, also where this node has saved it.
        origin: savedBy === this.#here.nodeId ? 0n : savedBy,
        run: null,
        top: 0,
      },
      body: {
        table: live.schema.name,
        columns: saved.schema.columns.map((column) => column.name),
        key: saved.schema.key,
        uniqueSignature: saved.schema.uniqueSignature,
        events,
      },
      isEcho: false,
      isSpared: (key) => this.#isSpared(live, key),
    }, outcome);
    if (reason !== undefined) throw new SchemaMismatchError(reason);
    tableApplier.finish();
    this.counts.written += outcome.written;
    this.counts.kept += outcome.overwritten;
  }

  /** What this node has to tell of stays: rows that were not published, and those of an own image that is due. */
  #isSpared(table: ArmedTable, key: readonly Value[]): boolean {
    const { pending, images } = this.#here;
    if (pending.isCovered(table.id, table.rows.identityOf(key), Infinity)) return true;
    const due = images.get(table.id);
    return due !== undefined && table.ranges.contains({ after: due.reached, upTo: null }, key);
  }

  /** From here on the node reads on from where the snapshot ends. */
  #end(): true {
    const { connection, positions, parts, pending, agreement, tableApplier } = this.#here;
    const { stream } = this.#request;
    pending.load();
    parts.takeOver(stream, this.#saved.connection);
    positions.takeOver(stream, this.#saved.positions);
    for (const { live, saved } of this.#pairs) {
      connection.statement("DELETE FROM __marmot__image_read WHERE table_id = ?").run([BigInt(live.id)]);
      const signatures = this.#saved.connection.statement(
        "SELECT origin, signature FROM __marmot__unique WHERE table_id = ?",
      ).all([BigInt(saved.id)]);
      for (const [origin, signature] of signatures) {
        agreement.note(live, BigInt(String(origin)), String(signature));
      }
    }
    endMerging(connection, stream);
    tableApplier.unhide();
    tableApplier.finish();
    return true;
  }

  #pairTables(): PairedTable[] {
    return this.#saved.tables.all().flatMap((saved) => {
      const live = this.#findLive(saved);
      if (!live || !this.#request.hasStream(live)) return [];
      const isMeant = (key: readonly Value[]) => this.#request.isOfStream(live, key);
      const isSpared = (key: readonly Value[]) => this.#isSpared(live, key);
      return [{ live, saved, difference: new TableDifference({ live, saved, isMeant, isSpared }) }];
    });
  }

  /** This node's table for one of the snapshot; undefined for one that was dropped here. */
  #findLive(saved: ArmedTable): ArmedTable | undefined {
    const { name } = saved.schema;
    const body = {
      table: name,
      formerNames: saved.formerNames ?? [],
      columns: [],
      key: [],
      uniqueSignature: "",
      events: [],
    };
    const found = this.#here.tableApplier.find({ tableName: name, content: { kind: "batch", body } });
    if (found === "dropped") return undefined;
    if (typeof found === "object") return found;
    if (!this.#request.hasStream(saved)) return undefined;
    if (found === "just dropped") {
      throw new MarmotError(
        "schema",
        `Cannot take over table "${name}" of the snapshot yet: it was dropped here a moment ago, and may come back`,
      );
    }
    throw new SchemaMismatchError(
      `Cannot take over table "${name}" of the snapshot: there is no such table here`,
    );
  }

  #checkIdentity(): void {
    const { nodeId, run } = this.#here;
    const mark = this.#saved.positions.markOf(this.#request.stream, nodeId);
    if (!mark || mark.run <= run) return;
    throw takenIdError(nodeId);
  }
}
