/**
 * Parts of a row that is larger than a message. A set is whole when its parts came one right after the other in the
 * origin's own counting; a newer set of the same origin makes an unfinished one void.
 */
import type { Envelope } from "../../wire/batch_codec.ts";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";

/**
 * Takes one part. Returns the whole body when this was the last part of a whole set, else undefined. A part whose
 * predecessors are not all here is dropped: its origin publishes the row again.
 */
export function takePart(connection: Connection, stream: string, envelope: Envelope): Uint8Array | undefined {
  const owner: Value[] = [stream, envelope.origin.toString()];
  if (envelope.part === 0) deleteParts(connection, owner);
  else if (!isNext(connection, owner, envelope)) {
    deleteParts(connection, owner);
    return undefined;
  }
  connection.statement(
    "INSERT INTO __marmot__part (stream, origin, part, run, number, body) VALUES (?, ?, ?, ?, ?, ?)",
  )
    .run([...owner, BigInt(envelope.part), BigInt(envelope.run), BigInt(envelope.number), envelope.body]);
  if (envelope.part + 1 < envelope.parts) return undefined;
  const bodies = connection.statement(
    "SELECT body FROM __marmot__part WHERE stream = ? AND origin = ? ORDER BY part",
  ).all(owner);
  deleteParts(connection, owner);
  return concatenate(bodies.map((row) => row[0]).filter((body) => body instanceof Uint8Array));
}

function isNext(connection: Connection, owner: Value[], envelope: Envelope): boolean {
  const last = connection.statement(
    "SELECT part, run, number FROM __marmot__part WHERE stream = ? AND origin = ? ORDER BY part DESC LIMIT 1",
  ).get(owner);
  return last !== undefined && Number(last[0]) === envelope.part - 1 && Number(last[1]) === envelope.run &&
    Number(last[2]) === envelope.number - 1;
}

function deleteParts(connection: Connection, owner: Value[]): void {
  connection.statement("DELETE FROM __marmot__part WHERE stream = ? AND origin = ?").run(owner);
}

function concatenate(bodies: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(bodies.reduce((length, body) => length + body.length, 0));
  let at = 0;
  for (const body of bodies) {
    whole.set(body, at);
    at += body.length;
  }
  return whole;
}
