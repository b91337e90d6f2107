/**
 * Parts of a row that is larger than a message. A set is whole when its parts came one right after the other in the
 * origin's own counting; any other message of the same origin makes an unfinished one void. What is unfinished is bounded: anyone may
 * publish parts under ever new origins.
 */
import { MalformedMessageError } from "../../errors.ts";
import type { Envelope } from "../../wire/batch_codec.ts";
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";

export interface PartBounds {
  /** Of one body. SQLite holds a row of 1,000,000,000 bytes at most. */
  readonly bodyBytes: number;
  /** Of all unfinished sets together; the one that has waited longest for its next part goes first. */
  readonly bytes: number;
  readonly sets: number;
}

const GIB = 1024 * 1024 * 1024;
const BOUNDS: PartBounds = { bodyBytes: GIB, bytes: 2 * GIB, sets: 1000 };

export class MessageParts {
  /** Who has unfinished sets, once it was read. */
  #owners: Set<string> | undefined;

  /** `onVoid` is told of each unfinished set that had to make room. */
  constructor(
    readonly connection: Connection,
    readonly onVoid: (set: { stream: string; origin: string; bytes: number }) => void,
    readonly bounds: PartBounds = BOUNDS,
  ) {}

  /**
   * Takes a message. Returns the whole body when it is whole by itself or the last part of a whole set, else undefined. A
   * part whose predecessors are not all here is dropped: its origin publishes the row again. Throws MalformedMessageError for a
   * body that no table can hold.
   */
  take(stream: string, envelope: Envelope): Uint8Array | undefined {
    const { connection } = this;
    const owner = [stream, envelope.origin.toString()];
    if (envelope.parts === 1) {
      if (this.#unfinished().has(owner.join())) this.#delete(owner);
      return envelope.body;
    }
    if (envelope.part === 0) this.#delete(owner);
    else if (!this.#isNext(owner, envelope)) {
      this.#delete(owner);
      return undefined;
    }
    connection.statement(
      "INSERT INTO __marmot__part (stream, origin, part, run, number, body) VALUES (?, ?, ?, ?, ?, ?)",
    )
      .run([...owner, BigInt(envelope.part), BigInt(envelope.run), BigInt(envelope.number), envelope.body]);
    if (envelope.part + 1 < envelope.parts) {
      this.#unfinished().add(owner.join());
      this.#makeRoom(owner);
      return undefined;
    }
    const bodies = connection.statement(
      "SELECT body FROM __marmot__part WHERE stream = ? AND origin = ? ORDER BY part",
    ).all(owner);
    this.#delete(owner);
    return concatenate(bodies.map((row) => row[0]).filter((body) => body instanceof Uint8Array));
  }

  /** Takes the unfinished sets of a stream over from another database. Call in a write transaction. */
  takeOver(stream: string, from: Connection): void {
    this.connection.statement("DELETE FROM __marmot__part WHERE stream = ?").run([stream]);
    const select = from.statement(
      "SELECT stream, origin, part, run, number, body FROM __marmot__part WHERE stream = ? ORDER BY rowid",
    );
    for (const row of select.all([stream])) {
      this.connection.statement(
        "INSERT INTO __marmot__part (stream, origin, part, run, number, body) VALUES (?, ?, ?, ?, ?, ?)",
      ).run(row);
    }
    this.#owners = undefined;
  }

  /** To be called when a transaction was rolled back. */
  forgetTransaction(): void {
    this.#owners = undefined;
  }

  #unfinished(): Set<string> {
    if (this.#owners) return this.#owners;
    const rows = this.connection.statement("SELECT DISTINCT stream, origin FROM __marmot__part").all();
    return this.#owners = new Set(rows.map((row) => row.join()));
  }

  #isNext(owner: Value[], envelope: Envelope): boolean {
    const last = this.connection.statement(
      "SELECT part, run, number FROM __marmot__part WHERE stream = ? AND origin = ? ORDER BY part DESC LIMIT 1",
    ).get(owner);
    return last !== undefined && Number(last[0]) === envelope.part - 1 && Number(last[1]) === envelope.run &&
      Number(last[2]) === envelope.number - 1;
  }

  #makeRoom(owner: Value[]): void {
    const { bodyBytes, bytes, sets } = this.bounds;
    // The latest part of a set has the highest rowid: the set that has waited longest comes first.
    const unfinished = this.connection.statement(
      "SELECT stream, origin, total(length(body)) FROM __marmot__part GROUP BY stream, origin ORDER BY max(rowid)",
    ).all().map((row) => ({ stream: String(row[0]), origin: String(row[1]), bytes: Number(row[2]) }));
    const own = unfinished.find((set) => set.stream === owner[0] && set.origin === owner[1]);
    if (own && own.bytes > bodyBytes) {
      this.#delete(owner);
      throw new MalformedMessageError(`Cannot take a row in parts of ${own.bytes} bytes: no table holds it`);
    }
    let total = unfinished.reduce((sum, set) => sum + set.bytes, 0);
    let count = unfinished.length;
    for (const set of unfinished) {
      if ((total <= bytes && count <= sets) || set === own) return;
      this.#delete([set.stream, set.origin]);
      this.onVoid(set);
      total -= set.bytes;
      count--;
    }
  }

  #delete(owner: Value[]): void {
    this.connection.statement("DELETE FROM __marmot__part WHERE stream = ? AND origin = ?").run(owner);
    this.#owners?.delete(owner.join());
  }
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
