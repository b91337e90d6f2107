/**
 * Applies stream messages in bounded write transactions. Everything that follows from a message happens in the
 * transaction that moves its stream's cursor past it: rows, settled entries, origin marks, parked and quarantined messages, the
 * journal. A message is decoded once; what to do with one that fails is decided by apply_policy.ts.
 */
import { BacklogError, errorText, MalformedMessageError, MarmotError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import type { Envelope } from "../../wire/batch_codec.ts";
import { decodeBody } from "../../wire/batch_codec.ts";
import { decodeMessage, isNewerFormat, type Message } from "../../wire/message.ts";
import { type ApplyBounds, type ApplyOutcome, boundOf, noOutcome } from "./apply_outcome.ts";
import { decideOnApplyError } from "./apply_policy.ts";
import type { ChangeLog } from "../capture/change_log.ts";
import type { ArmedTables } from "../rows/armed_tables.ts";
import type { Applicant } from "./batch_applier.ts";
import type { ConflictJournal } from "./conflict_journal.ts";
import { takenIdError } from "../replica_identity.ts";
import type { Connection } from "../connection.ts";
import type { DueImages } from "../state/due_images.ts";
import type { HiddenRows } from "./hidden_rows.ts";
import type { ImageReader } from "./image_reader.ts";
import { MessageParts } from "./message_parts.ts";
import { assertPlausible } from "./plausible_envelope.ts";
import type { ParkedMessages, SoundMessage } from "./parked_messages.ts";
import { Parking } from "./parking.ts";
import type { PendingChanges } from "../capture/pending_changes.ts";
import type { Quarantine, QuarantinedMessage } from "./quarantine.ts";
import { QuarantineRetry, type RetryResult } from "./quarantine_retry.ts";
import type { StreamPositions } from "../state/stream_positions.ts";
import { isOwnRun, TableApplier, UNKNOWN_TOP } from "./table_applier.ts";
import type { UniqueAgreement } from "./unique_agreement.ts";

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
  /** Whether the transaction must not end behind it: what follows belongs to the same transactions of the application. */
  readonly isFollowed?: boolean;
}

interface ApplierParts {
  readonly tables: ArmedTables;
  readonly pending: PendingChanges;
  readonly hidden: HiddenRows;
  readonly journal: ConflictJournal;
  readonly agreement: UniqueAgreement;
  readonly parked: ParkedMessages;
  readonly positions: StreamPositions;
  readonly quarantine: Quarantine;
  readonly changeLog: ChangeLog;
  readonly images: DueImages;
  readonly imageReader: ImageReader;
  readonly applicant: Applicant;
  readonly log: Log;
}

export class Applier {
  readonly #parts: ApplierParts;
  readonly tableApplier: TableApplier;
  readonly #parking: Parking;
  readonly messageParts: MessageParts;
  readonly #retry: QuarantineRetry;

  constructor(connection: Connection, parts: ApplierParts) {
    this.#parts = parts;
    this.messageParts = new MessageParts(connection, (set) => {
      parts.log.error("unfinished row dropped: too much of rows in parts waits for the rest", set);
    });
    const tableApplier = this.tableApplier = new TableApplier(connection, parts);
    this.#retry = new QuarantineRetry(connection, { ...parts, tableApplier });
    this.#parking = new Parking({
      ...parts,
      tableApplier,
      nowMs: parts.applicant.nowMs,
      quarantine: (message, error) => this.#quarantine(message, error),
    });
  }

  /**
   * Applies messages in order, at least the first, up to one of a newer format, or one of another node where more was captured
   * than can be taken in now. Call in a write transaction. Throws what "retry" and "stop" mean.
   */
  apply(messages: Iterable<IncomingMessage>, bounds: ApplyBounds): ApplyOutcome {
    const outcome = noOutcome();
    const { pending, positions } = this.#parts;
    const isFull = boundOf(outcome, bounds, this.#parts.applicant.nowMs);
    pending.loadOnDemand();
    let isFollowed = false;
    for (const message of messages) {
      if (isNewerFormat(message.format)) {
        outcome.newerFormat = message;
        break;
      }
      this.#applyMessage(message, outcome);
      if (outcome.needsBacklog) {
        // What belongs together is applied together, or not yet.
        if (isFollowed) throw new BacklogError();
        break;
      }
      if (outcome.isUnfinished) break;
      isFollowed = message.isFollowed ?? false;
      outcome.messages++;
      if (!message.isFollowed && isFull()) break;
    }
    this.tableApplier.finish();
    positions.save();
    return outcome;
  }

  /**
   * Tries parked messages again, in order, until one does not fit or a bound is reached, and brings hidden rows out that
   * no row clashes with since an index is gone. Call in a write transaction.
   */
  retryParked(bounds: ApplyBounds): ApplyOutcome {
    const outcome = noOutcome();
    this.#parts.pending.load();
    this.tableApplier.unhide();
    this.#parking.retry(outcome, boundOf(outcome, bounds, this.#parts.applicant.nowMs));
    this.tableApplier.finish();
    return outcome;
  }

  /** Takes the first message behind an id out of quarantine that the operator wants to have tried. Call as `apply`. */
  retryQuarantined(after: number): RetryResult | undefined {
    this.#parts.pending.load();
    const result = this.#retry.tryNext(after, noOutcome());
    this.tableApplier.finish();
    this.#parts.positions.save();
    return result;
  }

  /** To be called when a transaction was rolled back. */
  forgetTransaction(): void {
    this.tableApplier.forgetTransaction();
    this.messageParts.forgetTransaction();
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
      const decoded = decodeMessage(message.format, message.payload);
      outcome.needsBacklog = !this.#isOwnEcho(decoded, message) && !this.#parts.pending.tryLoad();
      if (outcome.needsBacklog) return;
      const sound = this.#admit(decoded, message, outcome);
      if (sound) this.#parking.apply(sound, outcome);
    } catch (error) {
      if (decideOnApplyError(error) !== "quarantine") throw error;
      this.#quarantine(message, error);
      outcome.quarantined++;
    }
    if (outcome.isUnfinished) return this.#parts.positions.takeBack();
    const { stream: name, createdAt, sequence: cursor, storedAt } = message;
    this.#parts.pending.endMessage({ stream: name, sequence: cursor, storedAt });
    this.#parts.positions.set({ name, createdAt, cursor, storedAt });
  }

  #quarantine(message: QuarantinedMessage, error: unknown): void {
    const reason = errorText(error);
    this.tableApplier.noteFollowed();
    const gone = this.#parts.quarantine.put(message, { reason, atMs: this.#parts.applicant.nowMs() });
    if (gone > 0) {
      this.#parts.log.error("quarantine is full: its oldest messages are lost to this node", { gone });
    }
    const { stream, sequence } = message;
    this.#parts.log.warn("message put into quarantine: it can never be applied", {
      stream,
      sequence,
      reason,
    });
  }

  /** Whether this run of this node wrote it: then it is known what it answers, and the rest of the change log need not be. */
  #isOwnEcho(decoded: Message, { echoTop }: IncomingMessage): boolean {
    return decoded.kind === "row" ? echoTop !== undefined : isOwnRun(this.#parts.applicant, decoded.envelope);
  }

  /** The message if it has to be applied now; undefined for one to ignore, and for a part that others follow. */
  #admit(decoded: Message, message: IncomingMessage, outcome: ApplyOutcome): SoundMessage | undefined {
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
    this.#checkIdentity(envelope, message);
    if (!this.#parts.positions.accept(stream, envelope.origin, envelope)) {
      outcome.ignored++;
      return undefined;
    }
    if (isOwnRun(this.#parts.applicant, envelope)) outcome.echoes.push({ stream, number: envelope.number });
    const bytes = this.messageParts.take(stream, envelope);
    if (!bytes) return undefined;
    const body = decodeBody(bytes);
    assertTableName(body.table);
    const { origin, run, top } = envelope;
    const isInParts = envelope.parts > 1;
    return {
      stream,
      sequence,
      tableName: body.table,
      origin,
      run,
      top,
      content: { kind: "batch", body },
      isInParts,
    };
  }

  #checkIdentity(envelope: Envelope, { storedAt }: IncomingMessage): void {
    const { origin, run } = envelope;
    const { nodeId, run: ownRun } = this.#parts.applicant;
    try {
      assertPlausible(envelope, storedAt);
    } catch (error) {
      if (!isOwnRun(this.#parts.applicant, envelope)) throw error;
      throw new MarmotError("identity", `Cannot go on as node ${nodeId}: ${errorText(error)}`, {
        hint: "Set the clock of this machine, or that of the NATS server, and start this node again.",
        cause: error,
      });
    }
    if (origin !== nodeId || run <= ownRun) return;
    throw takenIdError(nodeId);
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
