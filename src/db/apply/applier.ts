/**
 * Applies stream messages in bounded write transactions. Everything that follows from a message happens in the
 * transaction that moves its stream's cursor past it: rows, settled entries, origin marks, parked and quarantined messages, the
 * journal. A message is decoded once; what to do with one that fails is decided by apply_policy.ts.
 */
import { errorText, MalformedMessageError, MarmotError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import type { Envelope } from "../../wire/batch_codec.ts";
import { decodeBody } from "../../wire/batch_codec.ts";
import { decodeMessage } from "../../wire/message.ts";
import { decideOnApplyError } from "./apply_policy.ts";
import type { ArmedTable, ArmedTables, SuspendedTrigger } from "../rows/armed_tables.ts";
import { type Applicant, type AppliedEvents, BatchApplier } from "./batch_applier.ts";
import { bodyOfRowEvent } from "../rows/column_mapping.ts";
import type { Connection } from "../connection.ts";
import type { HiddenRows } from "./hidden_rows.ts";
import { quoteIdentifier } from "../schema/identifiers.ts";
import { findKnownTable, readKnownTables } from "../schema/known_tables.ts";
import { takePart } from "./message_parts.ts";
import type { ParkedMessage, ParkedMessages, SoundMessage } from "./parked_messages.ts";
import type { PendingChanges } from "../capture/pending_changes.ts";
import { quarantine, type QuarantinedMessage } from "./quarantine.ts";
import { noteHighestRowid } from "../capture/rowid_keys.ts";
import type { StreamPositions } from "../state/stream_positions.ts";

/** A message as it stands in a stream. */
export interface IncomingMessage {
  readonly stream: string;
  readonly createdAt: string;
  readonly sequence: number;
  readonly storedAt: string;
  readonly subject: string;
  readonly format: string | null;
  readonly payload: Uint8Array;
  /** In the original's format, which has no numbers, the publisher knows its echo: the log ids that it covers. */
  readonly echoTop: number | undefined;
}

export interface ApplyOutcome extends AppliedEvents {
  /** How many of the messages were taken; the others did not fit in the transaction's bounds. */
  messages: number;
  /** Own messages of this run that were read back. */
  readonly echoes: { stream: string; number: number }[];
  parked: number;
  quarantined: number;
  /** Messages that came after a newer one of their origin. */
  ignored: number;
}

/** Bounds of one transaction: at least one message is taken, then no more once either is reached. */
export interface ApplyBounds {
  readonly rows: number;
  readonly milliseconds: number;
}

interface ApplierParts {
  readonly tables: ArmedTables;
  readonly pending: PendingChanges;
  readonly hidden: HiddenRows;
  readonly parked: ParkedMessages;
  readonly positions: StreamPositions;
  readonly applicant: Applicant;
  readonly log: Log;
}

/** Covers all log ids: the original's messages do not say. */
const UNKNOWN_TOP = Number.MAX_SAFE_INTEGER;

/**
 * A dropped table may be half of a rebuild: for so long its events wait for a table of its name. Those that do not fit
 * that table meant the one that was dropped.
 */
const REBUILD_MS = 60_000;
/** Kept with such events; a compatibility constant. */
const JUST_DROPPED = "the table was dropped a moment ago";

export class Applier {
  readonly #connection: Connection;
  readonly #parts: ApplierParts;
  readonly #batches: BatchApplier;
  #suspended: SuspendedTrigger[] = [];
  /** Tables keyed by their rowid that messages of this transaction named. */
  readonly #touched = new Set<ArmedTable>();

  constructor(connection: Connection, parts: ApplierParts) {
    this.#connection = connection;
    this.#parts = parts;
    this.#batches = new BatchApplier(connection, parts);
  }

  /** Applies messages in order, at least the first. Call in a write transaction. Throws what "retry" and "stop" mean. */
  apply(messages: Iterable<IncomingMessage>, bounds: ApplyBounds): ApplyOutcome {
    const outcome = noOutcome();
    const { pending, positions } = this.#parts;
    const isFull = this.#bound(outcome, bounds);
    pending.load();
    for (const message of messages) {
      this.#applyMessage(message, outcome);
      outcome.messages++;
      if (isFull()) break;
    }
    this.#finish();
    positions.save();
    return outcome;
  }

  /** Tries parked messages again, in order, until one does not fit or a bound is reached. Call in a write transaction. */
  retryParked(bounds: ApplyBounds): ApplyOutcome {
    const outcome = noOutcome();
    const { parked, pending, log } = this.#parts;
    const isFull = this.#bound(outcome, bounds);
    pending.load();
    for (const name of parked.tables()) {
      for (let next = parked.first(name); next; next = isFull() ? undefined : parked.first(name)) {
        if (!this.#retry(next, outcome)) break;
        parked.release(name, next.id);
        const { stream, sequence } = next.message;
        pending.endMessage({ stream, sequence, storedAt: "" });
        outcome.messages++;
      }
      if (!parked.isParked(name)) log.info("table is no longer parked", { table: name });
    }
    this.#finish();
    return outcome;
  }

  /** Tells whether a transaction that begins now has reached its bounds. */
  #bound(outcome: ApplyOutcome, { rows, milliseconds }: ApplyBounds): () => boolean {
    const { nowMs } = this.#parts.applicant;
    const deadline = nowMs() + milliseconds;
    return () => outcome.written >= rows || nowMs() >= deadline;
  }

  /** Whether a parked message is done with. */
  #retry({ message, reason, bytes }: ParkedMessage, outcome: ApplyOutcome): boolean {
    const table = this.#findTable(message.tableName);
    if (!table || table === "just dropped") return false;
    if (table === "dropped") return true;
    try {
      return this.#tryApply(table, message, outcome) === undefined || reason === JUST_DROPPED;
    } catch (error) {
      if (decideOnApplyError(error) !== "quarantine") throw error;
      this.#quarantine(
        { ...message, subject: message.tableName, format: null, payload: bytes },
        error,
      );
      outcome.quarantined++;
      return true;
    }
  }

  #finish(): void {
    for (const trigger of this.#suspended.reverse()) this.#connection.exec(trigger.sql);
    this.#suspended = [];
    for (const table of this.#touched) noteHighestRowid(this.#connection, table.schema, table.identity);
    this.#touched.clear();
    this.#parts.pending.trim(this.#parts.applicant.nowMs());
  }

  /** To be called when a transaction was rolled back. */
  forgetTransaction(): void {
    this.#suspended = [];
    this.#touched.clear();
  }

  #applyMessage(message: IncomingMessage, outcome: ApplyOutcome): void {
    const expected = this.#parts.positions.get(message.stream).cursor + 1;
    if (message.sequence !== expected) {
      throw new MarmotError(
        "internal",
        `Cannot apply message ${message.sequence} of stream "${message.stream}": ${expected} is next`,
      );
    }
    try {
      const sound = this.#decode(message, outcome);
      if (sound) this.#applySound(sound, outcome);
    } catch (error) {
      if (decideOnApplyError(error) !== "quarantine") throw error;
      this.#quarantine(message, error);
      outcome.quarantined++;
    }
    const { stream: name, createdAt, sequence: cursor, storedAt } = message;
    this.#parts.pending.endMessage({ stream: name, sequence: cursor, storedAt });
    this.#parts.positions.set({ name, createdAt, cursor, storedAt });
  }

  #quarantine(message: QuarantinedMessage, error: unknown): void {
    const reason = errorText(error);
    quarantine(this.#connection, message, { reason, atMs: this.#parts.applicant.nowMs() });
    const { stream, sequence } = message;
    this.#parts.log.warn("message put into quarantine: it can never be applied", {
      stream,
      sequence,
      reason,
    });
  }

  /** The message if it has to be applied now; undefined for one to ignore, and for a part that others follow. */
  #decode(message: IncomingMessage, outcome: ApplyOutcome): SoundMessage | undefined {
    const decoded = decodeMessage(message.format, message.payload);
    const { stream, sequence } = message;
    if (decoded.kind === "row") {
      const { table: tableName, origin } = decoded.event;
      assertTableName(tableName);
      return {
        stream,
        sequence,
        tableName,
        origin,
        run: null,
        top: message.echoTop ?? UNKNOWN_TOP,
        content: decoded,
      };
    }
    const { envelope } = decoded;
    this.#checkIdentity(envelope);
    if (!this.#parts.positions.accept(stream, envelope.origin, envelope)) {
      outcome.ignored++;
      return undefined;
    }
    if (this.#isOwnRun(envelope)) outcome.echoes.push({ stream, number: envelope.number });
    const bytes = envelope.parts === 1 ? envelope.body : takePart(this.#connection, stream, envelope);
    if (!bytes) return undefined;
    const body = decodeBody(bytes);
    assertTableName(body.table);
    const { origin, run, top } = envelope;
    return { stream, sequence, tableName: body.table, origin, run, top, content: { kind: "batch", body } };
  }

  #applySound(message: SoundMessage, outcome: ApplyOutcome): void {
    const name = message.tableName;
    const table = this.#findTable(name);
    if (table === "just dropped") return this.#park(message, JUST_DROPPED, outcome);
    if (this.#parts.parked.isParked(name)) {
      return this.#park(message, "earlier events of the table wait", outcome);
    }
    if (table === "dropped") return;
    const reason = table ? this.#tryApply(table, message, outcome) : "there is no such table here";
    if (reason !== undefined) this.#park(message, reason, outcome);
  }

  /** Applies a message and returns undefined, or undoes it and returns why its table must be parked. */
  #tryApply(table: ArmedTable, message: SoundMessage, outcome: ApplyOutcome): string | undefined {
    const { content } = message;
    const body = content.kind === "batch" ? content.body : bodyOfRowEvent(table, content.event);
    const isEcho = this.#isOwnRun(message) || (message.run === null && message.top !== UNKNOWN_TOP);
    this.#suspendTriggers(table);
    if (table.schema.keyKind === "rowid") this.#touched.add(table);
    const ended = this.#parts.pending.ended;
    try {
      const events = this.#connection.savepoint(() => this.#batches.apply(table, { message, body, isEcho }));
      outcome.written += events.written;
      outcome.overwritten += events.overwritten;
      outcome.displaced += events.displaced;
      outcome.hidden += events.hidden;
      outcome.echoed += events.echoed;
      return undefined;
    } catch (error) {
      if (decideOnApplyError(error) !== "park") throw error;
      // What the savepoint has undone in the tables is undone in memory too.
      this.#parts.hidden.load();
      this.#parts.pending.undo(ended, this.#parts.applicant.nowMs());
      return errorText(error);
    }
  }

  /** The table that a message means; "dropped" for one that is no longer here, "just dropped" for a while before. */
  #findTable(name: string): ArmedTable | "dropped" | "just dropped" | undefined {
    return this.#parts.tables.byName(name) ?? this.#findRenamed(name);
  }

  #findRenamed(name: string): ArmedTable | "dropped" | "just dropped" | undefined {
    const known = findKnownTable(readKnownTables(this.#connection), name);
    if (!known) return undefined;
    if (!known.isDropped) return this.#parts.tables.byId(known.id);
    const droppedAtMs = known.memory.droppedAtMs ?? 0;
    return this.#parts.applicant.nowMs() - droppedAtMs < REBUILD_MS ? "just dropped" : "dropped";
  }

  #park(message: SoundMessage, reason: string, outcome: ApplyOutcome): void {
    const { parked, log } = this.#parts;
    const table = message.tableName;
    const state = parked.park(message, reason);
    outcome.parked++;
    const fields = { table, stream: message.stream, sequence: message.sequence, reason };
    if (state === "first") log.warn("table parked: its events wait until the local schema fits", fields);
    if (state === "full") {
      log.error(
        "event lost to this node: too many events of its table wait, the table needs a resync",
        fields,
      );
    }
  }

  #suspendTriggers(table: ArmedTable): void {
    for (const trigger of table.suspendedTriggers) {
      if (this.#suspended.some((suspended) => suspended.name === trigger.name)) continue;
      this.#connection.exec(`DROP TRIGGER ${quoteIdentifier(trigger.name)}`);
      this.#suspended.push(trigger);
    }
  }

  #isOwnRun({ origin, run }: { origin: bigint; run: number | null }): boolean {
    return origin === this.#parts.applicant.nodeId && run === this.#parts.applicant.run;
  }

  #checkIdentity({ origin, run }: Envelope): void {
    const { nodeId, run: ownRun } = this.#parts.applicant;
    if (origin !== nodeId || run <= ownRun) return;
    throw new MarmotError("identity", `Cannot go on as node ${nodeId}: another process uses this node id`, {
      hint: "Give every node an id of its own with -node-id, and start this one again.",
    });
  }
}

/** SQLite takes a name up to its first NUL: no table has such a name, and records of it would be taken for another's. */
function assertTableName(name: string): void {
  if (name.includes("\0")) {
    throw new MalformedMessageError(
      `Cannot apply a change to table ${JSON.stringify(name)}: a name holds no NUL`,
    );
  }
}

function noOutcome(): ApplyOutcome {
  return {
    messages: 0,
    echoes: [],
    written: 0,
    overwritten: 0,
    displaced: 0,
    hidden: 0,
    echoed: 0,
    parked: 0,
    quarantined: 0,
    ignored: 0,
  };
}
