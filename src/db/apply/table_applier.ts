/**
 * Finds the table that a message means and applies the message to it, or undoes it and says why it does not fit.
 * The application's triggers that must not run meanwhile are away until the transaction is finished.
 */
import { errorText } from "../../errors.ts";
import type { ApplyOutcome } from "./apply_outcome.ts";
import { decideOnApplyError } from "./apply_policy.ts";
import { type Applicant, BatchApplier, type BatchApplierParts, type Incoming } from "./batch_applier.ts";
import { noteHighestRowid } from "../capture/rowid_keys.ts";
import type { Connection } from "../connection.ts";
import type { SoundMessage } from "./parked_messages.ts";
import type { ArmedTable, ArmedTables, SuspendedTrigger } from "../rows/armed_tables.ts";
import { bodyOfRowEvent } from "../rows/column_mapping.ts";
import { newestQuarantined, noteFollowed } from "./quarantine.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { findByFormerNames, findKnownTable, readKnownTables } from "../schema/known_tables.ts";

/** A dropped table may be half of a rebuild: for so long its events wait for a table of its name. */
const REBUILD_MS = 60_000;

/** Covers all log ids: the original's messages do not say. */
export const UNKNOWN_TOP = Number.MAX_SAFE_INTEGER;

export interface TableApplierParts extends BatchApplierParts {
  readonly tables: ArmedTables;
}

/** The table that a message means; "dropped" for one that is no longer here, "just dropped" for a while before. */
export type FoundTable = ArmedTable | "dropped" | "just dropped" | undefined;

export class TableApplier {
  readonly #connection: Connection;
  readonly #parts: TableApplierParts;
  readonly #batches: BatchApplier;
  #suspended: SuspendedTrigger[] = [];
  /** Tables keyed by their rowid that messages of this transaction named. */
  readonly #touched = new Set<ArmedTable>();
  /** Ids of tables to which messages of this transaction were applied. */
  readonly #applied = new Set<number>();

  constructor(connection: Connection, parts: TableApplierParts) {
    this.#connection = connection;
    this.#parts = parts;
    this.#batches = new BatchApplier(parts);
  }

  /** By the present name that the message gives, else by the former ones that it gives, else by what is remembered here. */
  find({ tableName, content }: Pick<SoundMessage, "tableName" | "content">): FoundTable {
    const { tables, applicant } = this.#parts;
    const armed = tables.byName(tableName);
    if (armed) return armed;
    const allKnown = readKnownTables(this.#connection);
    const formerNames = content.kind === "batch" ? content.body.formerNames : undefined;
    const known = findByFormerNames(allKnown, formerNames ?? []) ??
      findKnownTable(allKnown, tableName, { isTaken: formerNames?.length === 0 });
    if (!known) return undefined;
    if (!known.isDropped) return tables.byId(known.id);
    return applicant.nowMs() - (known.memory.droppedAtMs ?? 0) < REBUILD_MS ? "just dropped" : "dropped";
  }

  /** Applies a message and returns undefined, or undoes it and returns why its table must be parked. */
  tryApply(table: ArmedTable, message: SoundMessage, outcome: ApplyOutcome): string | undefined {
    const { content } = message;
    const body = content.kind === "batch" ? content.body : bodyOfRowEvent(table, content.event);
    const isEcho = isOwnRun(this.#parts.applicant, message) ||
      (message.run === null && message.top !== UNKNOWN_TOP);
    return this.tryBatch(table, { message, body, isEcho }, outcome);
  }

  /** As tryApply, for what comes otherwise than as a message. */
  tryBatch(table: ArmedTable, incoming: Incoming, outcome: ApplyOutcome): string | undefined {
    this.#suspendTriggers(table);
    if (table.schema.keyKind === "rowid") this.#touched.add(table);
    outcome.isUnfinished = false;
    return this.#undoWhereItDoesNotFit(() => {
      const events = this.#batches.apply(table, incoming);
      this.#applied.add(table.id);
      outcome.written += events.written;
      outcome.overwritten += events.overwritten;
      outcome.displaced += events.displaced;
      outcome.hidden += events.hidden;
      outcome.echoed += events.echoed;
      outcome.isUnfinished = events.isUnfinished;
      if (events.republished > 0) outcome.republish.add(table.schema.name);
    });
  }

  /** Brings out the hidden rows that no row clashes with any more, of all tables that they fit. */
  unhide(): void {
    for (const id of this.#parts.hidden.tables()) {
      const table = this.#parts.tables.byId(id);
      if (!table) continue;
      this.#suspendTriggers(table);
      this.#undoWhereItDoesNotFit(() => this.#batches.unhide(table));
    }
  }

  /** Runs work in a savepoint. Returns why it was undone, undefined where it was not. */
  #undoWhereItDoesNotFit(work: () => void): string | undefined {
    const ended = this.#parts.pending.ended;
    try {
      this.#connection.savepoint(work);
      return undefined;
    } catch (error) {
      if (decideOnApplyError(error) !== "park") throw error;
      // What the savepoint has undone in the tables is undone in memory too.
      this.#parts.hidden.load();
      this.#parts.journal.load();
      this.#parts.images.load();
      this.#parts.agreement.load();
      this.#parts.pending.undo(ended, this.#parts.applicant.nowMs());
      return errorText(error);
    }
  }

  /** Keeps what was applied as what follows the messages in quarantine. Call before another one is put there. */
  noteFollowed(upTo = newestQuarantined(this.#connection)): void {
    noteFollowed(this.#connection, this.#applied, upTo);
    this.#applied.clear();
  }

  /**
   * To be called last in a transaction. What was applied follows the messages in quarantine up to an id: all, unless it
   * comes from there itself.
   */
  finish(followedUpTo?: number): void {
    this.noteFollowed(followedUpTo);
    for (const trigger of this.#suspended.reverse()) this.#connection.exec(trigger.sql);
    this.#suspended = [];
    for (const table of this.#touched) noteHighestRowid(this.#connection, table.schema, table.identity);
    this.#touched.clear();
    this.#parts.pending.trim(this.#parts.applicant.nowMs());
  }

  /** To be called when a transaction was rolled back. */
  forgetTransaction(): void {
    this.#applied.clear();
    this.#suspended = [];
    this.#touched.clear();
  }

  #suspendTriggers(table: ArmedTable): void {
    for (const trigger of table.suspendedTriggers) {
      if (this.#suspended.some((suspended) => suspended.name === trigger.name)) continue;
      this.#connection.exec(`DROP TRIGGER ${quoteIdentifier(trigger.name)}`);
      this.#suspended.push(trigger);
    }
  }
}

/** Whether a message is one of this life of this node. */
export function isOwnRun(
  { nodeId, run: ownRun }: Applicant,
  { origin, run }: { origin: bigint; run: number | null },
): boolean {
  return origin === nodeId && run === ownRun;
}
