/**
 * Applies one sound message to its table: settles the entries that it answers, then writes what no pending local
 * change shields. Within a table the stream order decides; a later event displaces the rows that hold its UNIQUE
 * values. The rules: docs/design.md, "Pending rows" and "UNIQUE tables".
 */
import type { ChangeEvent, NodeId } from "../../wire/batch.ts";
import type { BatchBody } from "../../wire/batch_codec.ts";
import type { Value } from "../../wire/value.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import { mapColumns } from "../rows/column_mapping.ts";
import type { BatchMapping } from "../rows/row_access.ts";
import type { ConflictJournal, ConflictKind, RowName } from "./conflict_journal.ts";
import type { DueImages } from "../state/due_images.ts";
import type { HiddenRows } from "./hidden_rows.ts";
import type { ImageReader } from "./image_reader.ts";
import { hasSameRow, isImageOf, keyed, type KeyedEvent, rowsOf } from "./keyed_events.ts";
import { hasNull, type KeyIdentity } from "../schema/key.ts";
import { SoundLists } from "./sound_lists.ts";
import type { Parent } from "../state/meta.ts";
import type { SoundMessage } from "./parked_messages.ts";
import type { PendingChanges } from "../capture/pending_changes.ts";
import type { UniqueAgreement } from "./unique_agreement.ts";

/** Who is applying. */
export interface Applicant {
  readonly nodeId: NodeId;
  readonly run: number;
  /** Own messages of earlier runs than this tell nothing of the entries in this change log. */
  readonly firstRun: number;
  /** Nodes whose file this one was copied from. */
  readonly parents: ReadonlyMap<NodeId, Parent>;
  readonly nowMs: () => number;
}

/** What became of the events of a message. */
export interface AppliedEvents {
  written: number;
  /** Found a pending local change, which wins. */
  overwritten: number;
  displaced: number;
  hidden: number;
  /** Own events that were read back. */
  echoed: number;
  /** Whether the message has to be applied again: it has deleted some rows, and there are more to delete. */
  isUnfinished: boolean;
  /** Rows that are to be published again: see unique_agreement.ts. */
  republished: number;
}

export interface Incoming {
  readonly message: Pick<SoundMessage, "stream" | "sequence" | "origin" | "run" | "top" | "isInParts">;
  readonly body: BatchBody;
  /** Whether it is an event of this run of this node. */
  readonly isEcho: boolean;
  /**
   * Of rows of a snapshot: whether the row of a key stays where the snapshot has none. All others that clash come with the
   * snapshot's values, or are gone by it: they have not lost.
   */
  readonly isSpared?: (key: readonly Value[]) => boolean;
}

/** One message while it is applied. */
interface Application extends Incoming {
  readonly table: ArmedTable;
  readonly mapping: BatchMapping;
  readonly events: readonly KeyedEvent[];
  readonly inBatch: ReadonlySet<KeyIdentity>;
  /** Keys whose row has been written by this batch. */
  readonly arrived: Set<KeyIdentity>;
  /** Keys whose row is that of this event or newer: a local change of them was settled by it. */
  readonly settled: ReadonlySet<KeyIdentity>;
  /** Of an own message: the rows of which an own table image has still to tell. See image_reader.ts. */
  readonly spared: ((key: readonly Value[]) => boolean) | undefined;
  /** Rows to be written at the end, together: nothing in a table without UNIQUE indexes depends on when. */
  readonly upserts: (readonly Value[])[];
  /** Whether a node is known that displaces other rows than this one, by other UNIQUE indexes. */
  readonly isDisputed: boolean;
}

export interface BatchApplierParts {
  readonly pending: PendingChanges;
  readonly hidden: HiddenRows;
  readonly journal: ConflictJournal;
  readonly agreement: UniqueAgreement;
  readonly applicant: Applicant;
  readonly images: DueImages;
  readonly imageReader: ImageReader;
}

export class BatchApplier {
  readonly #pending: PendingChanges;
  readonly #hidden: HiddenRows;
  readonly #journal: ConflictJournal;
  readonly #agreement: UniqueAgreement;
  readonly #applicant: Applicant;
  readonly #dueImages: DueImages;
  readonly #images: ImageReader;

  constructor(parts: BatchApplierParts) {
    this.#pending = parts.pending;
    this.#hidden = parts.hidden;
    this.#journal = parts.journal;
    this.#agreement = parts.agreement;
    this.#applicant = parts.applicant;
    this.#dueImages = parts.images;
    this.#images = parts.imageReader;
  }

  /** Applies a message. Call in a savepoint, after the pending changes were loaded. Throws SchemaMismatchError. */
  apply(table: ArmedTable, { message, body: whole, isEcho, isSpared }: Incoming): AppliedEvents {
    const { image, formerNames: _, ...told } = whole;
    // What is kept of the message goes by the name that the table has here.
    const body = { ...told, table: table.schema.name };
    const mapping = mapColumns(table, body);
    const lists = new SoundLists(table, mapping);
    const toldEvents = body.events.map((event) => keyed(table, mapping, lists.take(event)));
    const isOwn = message.origin === this.#applicant.nodeId;
    const named = new Set(toldEvents.map((event) => event.identity));
    const { isInParts: isAtOnce = false, origin } = message;
    const missing = image &&
      this.#images.findMissing(table, { ...mapping, image, origin, isOwn, isAtOnce, named });
    const isUnfinished = missing?.isUnfinished ?? false;
    const gone = missing?.rows.map((row) => ({ ...row, event: { kind: "delete" as const, key: row.key } })) ??
      [];
    const events = isUnfinished ? gone : [...gone, ...toldEvents];
    const settled = this.#settle(table, { message, mapping, events: isUnfinished ? [] : toldEvents, isEcho });
    const spared = isOwn ? this.#images.spared(table) : undefined;
    for (const { key, identity } of spared ? toldEvents : []) if (spared?.(key)) settled.add(identity);
    const isTelling = message.run !== null && !isOwn;
    const republished = isTelling ? this.#agreement.note(table, message.origin, body.uniqueSignature) : 0;
    const application: Application = {
      table,
      message,
      body,
      mapping,
      events,
      inBatch: new Set(events.map((event) => event.identity)),
      arrived: new Set(),
      upserts: [],
      settled,
      spared,
      isEcho,
      ...(isSpared ? { isSpared } : {}),
      isDisputed: this.#agreement.isDisputed(table),
    };
    const result: AppliedEvents = {
      written: 0,
      overwritten: 0,
      displaced: 0,
      hidden: 0,
      echoed: settled.size,
      isUnfinished,
      republished,
    };
    for (const event of events) this.#hidden.drop(table.id, event.identity);
    for (const { key, losing } of lists.reduced) this.#noteReduced(application, { key, losing }, result);
    for (const event of events) {
      if (event.event.kind === "delete" || (event.event.kind === "list" && table.clashes.isEmpty)) {
        this.#applyPlain(application, event, result);
      }
    }
    for (const event of events) {
      if (event.event.kind === "delete" || (event.event.kind === "list" && table.clashes.isEmpty)) continue;
      if (table.clashes.isEmpty) this.#applyPlain(application, event, result);
      else this.#applyUnique(application, event, result);
    }
    table.rows.upsertAll(mapping.columns, application.upserts);
    this.unhide(table);
    if (isOwn && image && !isUnfinished) this.#dueImages.reach(table.id, image, message);
    return result;
  }

  /** Brings out the hidden rows that no row clashes with any more. */
  unhide(table: ArmedTable): void {
    for (const hidden of this.#hidden.all(table.id)) {
      const event = hidden.body.events[0];
      if (event !== undefined && !this.#pending.isPending(table.id, hidden.identity)) {
        const { columns } = mapColumns(table, hidden.body);
        const rows = rowsOf(event);
        if (rows.some((row) => table.clashes.find(columns, row).length > 0)) continue;
        for (const row of rows) {
          if (event.kind === "list") table.rows.insert(columns, row);
          else table.rows.upsert(columns, row);
        }
      }
      this.#hidden.drop(table.id, hidden.identity);
    }
  }

  /** Settles what the message answers. Returns the keys of which a local change was settled. */
  #settle(
    table: ArmedTable,
    { message, mapping, events, isEcho }: Pick<Application, "message" | "mapping" | "events" | "isEcho">,
  ): Set<KeyIdentity> {
    const settled = new Set<KeyIdentity>();
    const isOwn = message.origin === this.#applicant.nodeId;
    const parent = this.#applicant.parents.get(message.origin);
    const isOfParent = parent !== undefined && (message.run ?? 0) <= parent.run;
    const isWhole = mapping.columns.targets.length === table.schema.columns.length;
    for (const event of events) {
      const { identity } = event;
      // A column came since: the row goes out again with it.
      if (isOwn && event.event.kind !== "delete" && !isWhole) continue;
      if (isEcho) {
        if (this.#pending.settle(table.id, identity, message.top)) settled.add(identity);
      } else if (isOwn) {
        const isAnswer = (message.run ?? this.#applicant.firstRun) >= this.#applicant.firstRun &&
          this.#pending.isCovered(table.id, identity, message.top) &&
          isImageOf(table, mapping, event);
        if (isAnswer && this.#pending.settle(table.id, identity, message.top)) settled.add(identity);
      }
      if (settled.has(identity)) this.#journal.close({ tableId: table.id, identity }, message);
      if (isOfParent) this.#pending.settle(table.id, identity, Math.min(message.top, parent.top));
    }
    return settled;
  }

  /** Whether the row is not written: our own change of it stands later in the stream, or is this one. */
  #isKept({ table, settled }: Application, identity: KeyIdentity): boolean {
    return settled.has(identity) || this.#pending.isPending(table.id, identity);
  }

  #applyPlain(application: Application, keyedEvent: KeyedEvent, result: AppliedEvents): void {
    // Also where a change of our own stays: that is published, and the row as it was at first would only come before it.
    this.#endBackfill(application, keyedEvent.identity);
    if (this.#isKept(application, keyedEvent.identity)) {
      this.#noteOverwritten(application, keyedEvent, result);
      return;
    }
    this.#write(application, keyedEvent, result);
  }

  #applyUnique(application: Application, keyedEvent: KeyedEvent, result: AppliedEvents): void {
    const { table } = application;
    let isBlocked = false;
    for (const row of rowsOf(keyedEvent.event)) {
      this.#displaceHidden(application, row, result);
      isBlocked = this.#displaceClashes(application, { row, identity: keyedEvent.identity }, result) ||
        isBlocked;
    }
    this.#endBackfill(application, keyedEvent.identity);
    if (this.#isKept(application, keyedEvent.identity)) {
      this.#noteOverwritten(application, keyedEvent, result);
      return;
    }
    if (!isBlocked) {
      this.#write(application, keyedEvent, result);
      return;
    }
    table.rows.delete(keyedEvent.key);
    const body = { ...application.body, events: [keyedEvent.event] };
    const { origin } = application.message;
    this.#hidden.hide(table.id, { identity: keyedEvent.identity, body, origin }, application.message);
    result.hidden++;
  }

  /** Removes the rows that a new row clashes with. Returns whether one of them stays, because it is kept. */
  #displaceClashes(
    application: Application,
    { row, identity }: { row: readonly Value[]; identity: KeyIdentity },
    result: AppliedEvents,
  ): boolean {
    const { table, mapping } = application;
    let isBlocked = false;
    for (const key of table.clashes.isEmpty ? [] : table.clashes.find(mapping.columns, row)) {
      const clashing = table.rows.identityOf(key);
      if (clashing === identity) continue;
      // Newer than an own event of which only the place in the stream was not known yet.
      if (application.spared?.(key) && this.#isKept(application, identity)) continue;
      if (this.#isKept(application, clashing)) isBlocked = true;
      else if (table.rows.has(key)) this.#displace(application, { key, identity: clashing }, result);
    }
    return isBlocked;
  }

  /** A row of the batch leaves in silence: it comes back with its new values. Any other row has lost. */
  #displace(
    application: Application,
    row: { key: readonly Value[]; identity: KeyIdentity },
    result: AppliedEvents,
  ): void {
    const { table, isSpared } = application;
    const isComing = isSpared ? !isSpared(row.key) : application.inBatch.has(row.identity) &&
      !application.arrived.has(row.identity) && !hasNull(row.key);
    if (!isComing) {
      const losing = {
        ...application.body,
        columns: table.schema.columns.map((column) => column.name),
        key: table.schema.key,
        events: table.rows.read(row.key).map((image): ChangeEvent => ({ kind: "upsert", row: image })),
      };
      this.#record(application, "displaced", { losing, losingOrigin: null });
      result.displaced++;
    }
    table.rows.delete(row.key);
    // A backfill entry of the row stays: nodes that hold another version of it learn that it is gone.
    this.#noteDisplaced(application, row.key);
    if (!isComing && application.isDisputed) this.#publish(application, row.key, result);
  }

  /** Rows of one key clash among themselves where the origin has another index: nodes that have none hold them all. */
  #noteReduced(
    application: Application,
    { key, losing }: { key: readonly Value[]; losing: readonly ChangeEvent[] },
    result: AppliedEvents,
  ): void {
    this.#record(application, "displaced", {
      losing: { ...application.body, events: losing },
      losingOrigin: application.message.origin,
    });
    result.displaced += losing.length;
    if (application.isDisputed) this.#publish(application, key, result);
  }

  /** Whoever has displaced a row publishes that it is gone, should the stream lose the message that did it. */
  #noteDisplaced({ table, message }: Application, key: readonly Value[]): void {
    if (message.origin === this.#applicant.nodeId) this.#pending.noteDisplaced(table.id, key);
  }

  #displaceHidden(application: Application, row: readonly Value[], result: AppliedEvents): void {
    const { table, mapping } = application;
    const hiddenRows = this.#hidden.all(table.id);
    if (hiddenRows.length === 0) return;
    const incoming = table.clashes.identities(mapping.columns, row);
    for (const hidden of hiddenRows) {
      const event = hidden.body.events[0];
      if (event === undefined || application.inBatch.has(hidden.identity)) continue;
      const hiddenMapping = mapColumns(table, hidden.body);
      const held = rowsOf(event).map((row) => table.clashes.identities(hiddenMapping.columns, row));
      if (!held.some((of) => of.some((identity, i) => identity !== null && identity === incoming[i]))) {
        continue;
      }
      this.#record(application, "hidden-dropped", { losing: hidden.body, losingOrigin: hidden.origin });
      const { key } = keyed(table, hiddenMapping, event);
      this.#noteDisplaced(application, key);
      this.#hidden.drop(table.id, hidden.identity);
      if (application.isDisputed) this.#publish(application, key, result);
    }
  }

  #publish({ table }: Application, key: readonly Value[], result: AppliedEvents): void {
    this.#agreement.publish(table, key);
    result.republished++;
  }

  #write(
    { table, mapping, arrived, upserts }: Application,
    { event, key, identity }: KeyedEvent,
    result: AppliedEvents,
  ): void {
    const { columns } = mapping;
    if (event.kind === "delete") {
      table.rows.delete(key);
    } else if (event.kind === "list") {
      table.rows.delete(key);
      for (const row of event.rows) table.rows.insert(columns, row);
    } else if (!hasNull(key)) {
      if (table.clashes.isEmpty) upserts.push(event.row);
      else table.rows.upsert(columns, event.row);
    } else if (!hasSameRow(table.rows.read(key), mapping, event.row)) {
      // Only the original publishes single rows of a key with NULL: it knows no lists.
      table.rows.insert(columns, event.row);
    }
    arrived.add(identity);
    result.written++;
  }

  #endBackfill({ table, isEcho }: Application, identity: KeyIdentity): void {
    if (!isEcho) this.#pending.endBackfill(table.id, identity);
  }

  #noteOverwritten(application: Application, { event, identity }: KeyedEvent, result: AppliedEvents): void {
    if (application.settled.has(identity) || application.message.origin === this.#applicant.nodeId) return;
    result.overwritten++;
    const { body, message: { origin } } = application;
    this.#record(application, "overwritten", {
      losing: { ...body, events: [event] },
      losingOrigin: origin,
      winner: { tableId: application.table.id, identity },
    });
  }

  /** Records what lost: to a local change of the row where one is named as the winner, else to the message. */
  #record(
    { message }: Application,
    kind: ConflictKind,
    { losing, losingOrigin, winner }: { losing: BatchBody; losingOrigin: NodeId | null; winner?: RowName },
  ): void {
    this.#journal.record({
      kind,
      losing,
      losingOrigin,
      winnerOrigin: winner ? this.#applicant.nodeId : message.origin,
      winner: winner ?? { stream: message.stream, sequence: message.sequence },
      atMs: this.#applicant.nowMs(),
    });
  }
}
