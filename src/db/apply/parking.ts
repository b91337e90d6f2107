/**
 * Applies sound messages, and puts aside those whose table does not fit the local schema yet: the table is parked, its
 * later messages wait behind. They are tried again, in order, when the schema has moved.
 */
import type { Log } from "../../observability/log.ts";
import { decideOnApplyError } from "./apply_policy.ts";
import type { PendingChanges } from "../capture/pending_changes.ts";
import type { ApplyOutcome } from "./apply_outcome.ts";
import { ArmedTable } from "../rows/armed_tables.ts";
import type { ParkedMessage, ParkedMessages, SoundMessage } from "./parked_messages.ts";
import { PARKED_FORMAT, type QuarantinedMessage } from "./quarantine.ts";
import type { FoundTable, TableApplier } from "./table_applier.ts";

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
    const table = tableApplier.find(message);
    if (table === "just dropped") return this.#park(message, JUST_DROPPED, outcome);
    // Events of a table wait in one queue, whichever of its names they give.
    const names = [message.tableName, ...(table instanceof ArmedTable ? table.names : [])];
    const queue = parked.queueOf(names);
    if (queue !== undefined) {
      return this.#park(message, "earlier events of the table wait", outcome, queue);
    }
    if (table === "dropped") return;
    const reason = table ? tableApplier.tryApply(table, message, outcome) : "there is no such table here";
    if (reason !== undefined) this.#park(message, reason, outcome, table?.schema.name);
  }

  /** Tries what waits again, each table in order until one message does not fit or `isFull`. */
  retry(outcome: ApplyOutcome, isFull: () => boolean): void {
    const { parked, pending, log, tableApplier } = this.parts;
    this.#joinQueues();
    for (const name of parked.tables()) {
      let table: FoundTable;
      for (let next = parked.first(name); next; next = isFull() ? undefined : parked.first(name)) {
        if (!this.#retryOne(next, outcome)) break;
        table = tableApplier.find(next.message);
        parked.release(name, next);
        const { stream, sequence } = next.message;
        pending.endMessage({ stream, sequence, storedAt: "" });
        outcome.messages++;
      }
      if (parked.isParked(name)) continue;
      log.info("table is no longer parked", { table: name });
      // Its backfill was held back meanwhile.
      if (table instanceof ArmedTable) outcome.republish.add(table.schema.name);
    }
  }

  /** Events that were parked under several names of what is one table by now wait in one queue, in their order. */
  #joinQueues(): void {
    const { parked, tableApplier } = this.parts;
    for (const name of parked.tables()) {
      const first = parked.first(name);
      const table = first && tableApplier.find(first.message);
      if (table instanceof ArmedTable) parked.join(table.schema.name, [name, ...table.names]);
    }
  }

  /** Whether a parked message is done with. */
  #retryOne({ message, reason, bytes }: ParkedMessage, outcome: ApplyOutcome): boolean {
    const { tableApplier, quarantine } = this.parts;
    const table = tableApplier.find(message);
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

  #park(
    message: SoundMessage,
    reason: string,
    outcome: ApplyOutcome,
    queue = message.tableName,
  ): void {
    const { parked, log, nowMs } = this.parts;
    const state = parked.park(message, { queue, reason, atMs: nowMs() });
    outcome.parked++;
    const fields = { table: queue, stream: message.stream, sequence: message.sequence, reason };
    if (state === "first") log.warn("table parked: its events wait until the local schema fits", fields);
    if (state === "first lost") {
      log.error(
        "events lost to this node: too many events of the table wait, the table needs a resync",
        fields,
      );
    }
  }
}
