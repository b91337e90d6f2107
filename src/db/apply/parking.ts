/**
 * Applies sound messages, and puts aside those whose table does not fit the local schema yet: the table is parked, its
 * later messages wait behind. They are tried again, in order, when the schema has moved.
 */
import type { Log } from "../../observability/log.ts";
import { decideOnApplyError } from "./apply_policy.ts";
import type { PendingChanges } from "../capture/pending_changes.ts";
import type { ApplyOutcome } from "./apply_outcome.ts";
import type { ParkedMessage, ParkedMessages, SoundMessage } from "./parked_messages.ts";
import { PARKED_FORMAT, type QuarantinedMessage } from "./quarantine.ts";
import type { TableApplier } from "./table_applier.ts";

/**
 * Kept with events of a table that was dropped a moment ago; a compatibility constant. Those that do not fit the table of its
 * name that may come meant the one that was dropped.
 */
const JUST_DROPPED = "the table was dropped a moment ago";

export interface ParkingParts {
  readonly parked: ParkedMessages;
  readonly pending: PendingChanges;
  readonly tableApplier: TableApplier;
  readonly nowMs: () => number;
  readonly log: Log;
  readonly quarantine: (message: QuarantinedMessage, error: unknown) => void;
}

export class Parking {
  constructor(readonly parts: ParkingParts) {}

  /** Applies a message, or parks its table. */
  apply(message: SoundMessage, outcome: ApplyOutcome): void {
    const { parked, tableApplier } = this.parts;
    const name = message.tableName;
    const table = tableApplier.find(name);
    if (table === "just dropped") return this.#park(message, JUST_DROPPED, outcome);
    if (parked.isParked(name)) return this.#park(message, "earlier events of the table wait", outcome);
    if (table === "dropped") return;
    const reason = table ? tableApplier.tryApply(table, message, outcome) : "there is no such table here";
    if (reason !== undefined) this.#park(message, reason, outcome);
  }

  /** Tries what waits again, each table in order until one message does not fit or `isFull`. */
  retry(outcome: ApplyOutcome, isFull: () => boolean): void {
    const { parked, pending, log } = this.parts;
    for (const name of parked.tables()) {
      for (let next = parked.first(name); next; next = isFull() ? undefined : parked.first(name)) {
        if (!this.#retryOne(next, outcome)) break;
        parked.release(name, next);
        const { stream, sequence } = next.message;
        pending.endMessage({ stream, sequence, storedAt: "" });
        outcome.messages++;
      }
      if (!parked.isParked(name)) log.info("table is no longer parked", { table: name });
    }
  }

  /** Whether a parked message is done with. */
  #retryOne({ message, reason, bytes }: ParkedMessage, outcome: ApplyOutcome): boolean {
    const { tableApplier, quarantine } = this.parts;
    const table = tableApplier.find(message.tableName);
    if (!table || table === "just dropped") return false;
    if (table === "dropped") return true;
    try {
      const isApplied = tableApplier.tryApply(table, message, outcome) === undefined;
      if (outcome.isUnfinished) outcome.messages++;
      return (isApplied && !outcome.isUnfinished) || (!isApplied && reason === JUST_DROPPED);
    } catch (error) {
      if (decideOnApplyError(error) !== "quarantine") throw error;
      const format = message.run === null ? null : PARKED_FORMAT;
      quarantine({ ...message, subject: message.tableName, format, payload: bytes }, error);
      outcome.quarantined++;
      return true;
    }
  }

  #park(message: SoundMessage, reason: string, outcome: ApplyOutcome): void {
    const { parked, log, nowMs } = this.parts;
    const state = parked.park(message, reason, nowMs());
    outcome.parked++;
    const fields = { table: message.tableName, stream: message.stream, sequence: message.sequence, reason };
    if (state === "first") log.warn("table parked: its events wait until the local schema fits", fields);
    if (state === "first lost") {
      log.error(
        "events lost to this node: too many events of the table wait, the table needs a resync",
        fields,
      );
    }
  }
}
