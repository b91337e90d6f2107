/** The quarantine as the operator sees it: what is in it, decoded as far as possible, to be tried again or discarded. */
import { errorText, MarmotError } from "../../errors.ts";
import { type BatchBody, decodeBody, type EnvelopeHead } from "../../wire/batch_codec.ts";
import { decodeMessage } from "../../wire/message.ts";
import type { RowEventV06 } from "../../wire/batch.ts";
import type { Value } from "../../wire/value.ts";
import { PARKED_FORMAT } from "../apply/quarantine.ts";
import type { Connection } from "../connection.ts";
import { requestOperatorLook } from "./operator_request.ts";

export interface QuarantineRecord {
  readonly id: number;
  readonly stream: string;
  readonly sequence: number;
  readonly subject: string;
  readonly format: string | null;
  readonly bytes: number;
  readonly reason: string;
  readonly atMs: number;
  /** Whether a node is to try it again. */
  readonly isMarked: boolean;
}

/** What is in a message, as far as it can be read. */
export interface DecodedMessage {
  readonly head: Pick<EnvelopeHead, "origin"> & Partial<EnvelopeHead> | undefined;
  readonly body: BatchBody | undefined;
  /** Of the original's format. */
  readonly type: RowEventV06["type"] | undefined;
  /** What could not be read, and why. */
  readonly problem: string | undefined;
}

const SELECT =
  "SELECT id, stream, sequence, subject, format, length(payload), reason, at_ms, retry FROM __marmot__quarantine";

/** The newest messages, newest first. */
export function listQuarantine(connection: Connection, limit: number): QuarantineRecord[] {
  return connection.statement(`${SELECT} ORDER BY id DESC LIMIT ?`).all([BigInt(limit)]).map(recordOf);
}

export function countQuarantine(connection: Connection): number {
  return connection.integer("SELECT count(*) FROM __marmot__quarantine");
}

export function findQuarantined(
  connection: Connection,
  id: bigint,
): QuarantineRecord & { readonly payload: Uint8Array } | undefined {
  return connection.read(() => {
    const row = connection.statement(`${SELECT} WHERE id = ?`).get([id]);
    const payload = connection.statement("SELECT payload FROM __marmot__quarantine WHERE id = ?").get([id])
      ?.[0];
    return row && payload instanceof Uint8Array ? { ...recordOf(row), payload } : undefined;
  });
}

/** Marks messages for a node to try again, all without `id`, and returns their ids. Throws MarmotError where it can't be. */
export function markForRetry(connection: Connection, id?: bigint): number[] {
  return connection.write(() => {
    if (id !== undefined && isOfOlderRelease(connection, id)) {
      throw new MarmotError(
        "database",
        `Cannot try message ${id} again: an older release put it aside, which did not keep what followed it`,
        { hint: `Write its rows by hand where they are missing: marmot quarantine show ${id}` },
      );
    }
    const [where, parameters] = condition(id);
    const marked = connection.statement(
      `UPDATE __marmot__quarantine SET retry = 1 WHERE retry IS NOT NULL AND ${where} RETURNING id`,
    ).all(parameters).map((row) => Number(row[0]));
    if (marked.length > 0) requestOperatorLook(connection);
    return marked;
  });
}

/** Removes messages, all without `id`, and returns how many. */
export function discardQuarantined(connection: Connection, id?: bigint): number {
  return connection.write(() => {
    const [where, parameters] = condition(id);
    const gone = connection.statement(`DELETE FROM __marmot__quarantine WHERE ${where}`).run(parameters);
    if (gone > 0) requestOperatorLook(connection);
    return gone;
  });
}

/** How many messages a node is still to try again. */
export function countMarked(connection: Connection): number {
  return connection.integer("SELECT count(*) FROM __marmot__quarantine WHERE retry = 1");
}

/** Reads a message as far as possible. Never throws for what is in it. */
export function decodeQuarantined(format: string | null, payload: Uint8Array): DecodedMessage {
  let head: DecodedMessage["head"];
  try {
    if (format === PARKED_FORMAT) {
      return { head, body: decodeBody(payload), type: undefined, problem: undefined };
    }
    const message = decodeMessage(format, payload);
    if (message.kind === "row") {
      const { origin, type } = message.event;
      return { head: { origin }, body: bodyOfRow(message.event), type, problem: undefined };
    }
    const { body, ...rest } = message.envelope;
    head = rest;
    if (rest.parts > 1) return { head, body: undefined, type: undefined, problem: "it is one part of a row" };
    return { head, body: decodeBody(body), type: undefined, problem: undefined };
  } catch (error) {
    if (!(error instanceof MarmotError)) throw error;
    return { head, body: undefined, type: undefined, problem: errorText(error) };
  }
}

function bodyOfRow({ table, row }: RowEventV06): BatchBody {
  const events = [{ kind: "upsert", row: [...row.values()] } as const];
  return { table, columns: [...row.keys()], key: [], uniqueSignature: "", events };
}

function isOfOlderRelease(connection: Connection, id: bigint): boolean {
  return connection.statement("SELECT retry IS NULL FROM __marmot__quarantine WHERE id = ?").get([id])
    ?.[0] === 1n;
}

function condition(id: bigint | undefined): [string, Value[]] {
  return id === undefined ? ["true", []] : ["id = ?", [id]];
}

function recordOf(row: Value[]): QuarantineRecord {
  return {
    id: Number(row[0]),
    stream: String(row[1]),
    sequence: Number(row[2]),
    subject: String(row[3]),
    format: row[4] === null || row[4] === undefined ? null : String(row[4]),
    bytes: Number(row[5]),
    reason: String(row[6]),
    atMs: Number(row[7]),
    isMarked: row[8] === 1n,
  };
}
