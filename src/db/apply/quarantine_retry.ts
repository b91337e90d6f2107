/**
 * Takes messages out of quarantine that the operator wants to have tried again, as after an upgrade that reads what the
 * release before could not. Later messages of the stream were applied since, so a message is taken up only where that is
 * the same as if it had come late:
 *
 * 1. Its table has taken no event since, and has no local change that is not published. Which rows or UNIQUE values a later
 *    event took is not kept per row, so any later event of the table counts.
 * 2. Nothing newer of its origin was read in that stream: it may else be a try that its origin has given up.
 *
 * Other nodes may have it in quarantine too, and would differ from this one. So the rows that it wrote become backfill:
 * they are published, and never over an event that this node has not read.
 */
import { errorText, MalformedMessageError } from "../../errors.ts";
import { decodeBody } from "../../wire/batch_codec.ts";
import { decodeMessage } from "../../wire/message.ts";
import type { ChangeLog } from "../capture/change_log.ts";
import type { PendingChanges } from "../capture/pending_changes.ts";
import type { Connection } from "../connection.ts";
import { bodyOfRowEvent, mapColumns } from "../rows/column_mapping.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import type { StreamPositions } from "../state/stream_positions.ts";
import type { ApplyOutcome } from "./apply_outcome.ts";
import { decideOnApplyError } from "./apply_policy.ts";
import type { Applicant } from "./batch_applier.ts";
import { keyed } from "./keyed_events.ts";
import type { ParkedMessages, SoundMessage } from "./parked_messages.ts";
import { isFollowed, PARKED_FORMAT } from "./quarantine.ts";
import { type TableApplier, UNKNOWN_TOP } from "./table_applier.ts";

export interface QuarantineRetryParts {
  readonly tableApplier: TableApplier;
  readonly parked: ParkedMessages;
  readonly pending: PendingChanges;
  readonly positions: StreamPositions;
  readonly changeLog: ChangeLog;
  readonly applicant: Applicant;
}

/** What became of a message. */
export type RetryResult =
  & { readonly id: number }
  & (
    | { readonly kind: "applied"; readonly table: string }
    /** It stays in quarantine, with this reason. */
    | { readonly kind: "stays"; readonly reason: string }
    /** Local changes of its table are to be published first: it is tried again. */
    | { readonly kind: "waits" }
  );

interface Quarantined {
  readonly id: number;
  readonly stream: string;
  readonly sequence: number;
  readonly format: string | null;
  readonly payload: Uint8Array;
}

/** Why a message stays in quarantine. */
class Refusal extends Error {}

export class QuarantineRetry {
  constructor(readonly connection: Connection, readonly parts: QuarantineRetryParts) {}

  /** Tries the first message that is asked for behind an id; undefined where there is none. Call in a write transaction. */
  tryNext(after: number, outcome: ApplyOutcome): RetryResult | undefined {
    const quarantined = this.#next(after);
    if (!quarantined) return undefined;
    const { id } = quarantined;
    try {
      const result = this.#take(quarantined, outcome);
      if (result.kind === "applied") this.#forget(id);
      return result;
    } catch (error) {
      const isStaying = error instanceof Refusal || decideOnApplyError(error) === "quarantine";
      if (!isStaying) throw error;
      const reason = errorText(error);
      this.connection.statement("UPDATE __marmot__quarantine SET reason = ?, retry = 0 WHERE id = ?")
        .run([reason, BigInt(id)]);
      return { id, kind: "stays", reason };
    }
  }

  #take(quarantined: Quarantined, outcome: ApplyOutcome): RetryResult {
    const { id } = quarantined;
    const message = this.#decode(quarantined);
    const table = this.#findTable(message);
    if (isFollowed(this.connection, table.id, id)) {
      throw new Refusal(
        "later changes of its table were applied since, which it could undo: write its rows by hand where they are missing",
      );
    }
    if (this.parts.pending.hasPending(table.id)) return { id, kind: "waits" };
    const reason = this.parts.tableApplier.tryApply(table, message, outcome);
    if (reason !== undefined) throw new Refusal(reason);
    this.#backfill(table, message);
    this.parts.tableApplier.finish(id);
    return { id, kind: "applied", table: table.schema.name };
  }

  #decode({ stream, sequence, format, payload }: Quarantined): SoundMessage {
    if (format === PARKED_FORMAT) {
      throw new Refusal(
        "it was parked, and only its rows are kept: write them by hand where they are missing",
      );
    }
    const decoded = decodeMessage(format, payload);
    if (decoded.kind === "row") {
      const { table: tableName, origin } = decoded.event;
      return { stream, sequence, tableName, origin, run: null, top: UNKNOWN_TOP, content: decoded };
    }
    const { origin, run, number, top, parts, body: bytes } = decoded.envelope;
    if (origin === this.parts.applicant.nodeId) throw new Refusal("it is this node's own");
    if (parts > 1) throw new Refusal("it is one part of a row that came in several messages");
    if (this.parts.positions.isBehind(stream, origin, { run, number })) {
      throw new Refusal(
        "newer messages of its origin were read since: it may have been given up by its origin",
      );
    }
    const body = decodeBody(bytes);
    this.parts.positions.accept(stream, origin, { run, number });
    return { stream, sequence, tableName: body.table, origin, run, top, content: { kind: "batch", body } };
  }

  #findTable(message: SoundMessage): ArmedTable {
    const name = message.tableName;
    if (name.includes("\0")) {
      throw new MalformedMessageError("its table's name holds a NUL: there is no such table");
    }
    const table = this.parts.tableApplier.find(message);
    if (!table || typeof table === "string") {
      throw new Refusal(`there is no table ${JSON.stringify(name)} here`);
    }
    if (this.parts.parked.queueOf([name, ...table.names]) !== undefined) {
      throw new Refusal("earlier events of its table are parked");
    }
    return table;
  }

  #backfill(table: ArmedTable, { content }: SoundMessage): void {
    const body = content.kind === "batch" ? content.body : bodyOfRowEvent(table, content.event);
    const mapping = mapColumns(table, body);
    for (const event of body.events) {
      this.parts.changeLog.backfillKey(table.id, keyed(table, mapping, event).key);
    }
  }

  #next(after: number): Quarantined | undefined {
    const row = this.connection.statement(
      "SELECT id, stream, sequence, format, payload FROM __marmot__quarantine WHERE retry = 1 AND id > ? ORDER BY id LIMIT 1",
    ).get([BigInt(after)]);
    if (!row || !(row[4] instanceof Uint8Array)) return undefined;
    return {
      id: Number(row[0]),
      stream: String(row[1]),
      sequence: Number(row[2]),
      format: row[3] === null ? null : String(row[3]),
      payload: row[4],
    };
  }

  #forget(id: number): void {
    this.connection.statement("DELETE FROM __marmot__quarantine WHERE id = ?").run([BigInt(id)]);
  }
}
