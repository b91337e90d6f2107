/**
 * Per stream: the cursor with the identity of the message at it, and the highest (run, number) read of each origin.
 * Kept in memory, written in the transaction that moved them.
 */
import type { NodeId } from "../../wire/batch.ts";
import type { Connection } from "../connection.ts";

export interface StreamPosition {
  readonly name: string;
  /** When the server says the stream was created, '' before the first message was read. */
  readonly createdAt: string;
  /** Last sequence applied or put aside on record; 0 before the first. */
  readonly cursor: number;
  /** When the server stored the message at the cursor; '' if unknown. */
  readonly storedAt: string;
}

interface OriginMark {
  readonly run: number;
  readonly number: number;
}

export class StreamPositions {
  readonly #positions = new Map<string, StreamPosition>();
  readonly #marks = new Map<string, Map<NodeId, OriginMark>>();
  readonly #changedPositions = new Set<string>();
  #takeBack: () => void = () => {};
  readonly #changedMarks: { stream: string; origin: NodeId }[] = [];

  constructor(readonly connection: Connection) {}

  /** Reads everything from the database; what was not saved is forgotten. */
  load(): void {
    this.#positions.clear();
    this.#marks.clear();
    this.#changedPositions.clear();
    this.#changedMarks.length = 0;
    for (
      const row of this.connection.statement(
        "SELECT name, created_at, cursor, stored_at FROM __marmot__stream",
      ).all()
    ) {
      const position = {
        name: String(row[0]),
        createdAt: String(row[1]),
        cursor: Number(row[2]),
        storedAt: String(row[3]),
      };
      this.#positions.set(position.name, position);
    }
    for (
      const row of this.connection.statement("SELECT stream, origin, run, number FROM __marmot__origin").all()
    ) {
      this.#marksOf(String(row[0])).set(BigInt(String(row[1])), {
        run: Number(row[2]),
        number: Number(row[3]),
      });
    }
  }

  get isEmpty(): boolean {
    return this.#positions.size === 0;
  }

  all(): StreamPosition[] {
    return [...this.#positions.values()];
  }

  get(stream: string): StreamPosition {
    return this.#positions.get(stream) ?? { name: stream, createdAt: "", cursor: 0, storedAt: "" };
  }

  set(position: StreamPosition): void {
    this.#positions.set(position.name, position);
    this.#changedPositions.add(position.name);
  }

  /**
   * Takes note of a message of an origin. False if it is not above the highest that was read of the origin in this
   * stream: it came late, after its publisher had given it up, and must be ignored.
   */
  accept(stream: string, origin: NodeId, mark: OriginMark): boolean {
    if (this.isRead(stream, origin, mark)) return false;
    const before = this.#marksOf(stream).get(origin);
    this.#takeBack = () => {
      if (before) this.#marksOf(stream).set(origin, before);
      else this.#marksOf(stream).delete(origin);
    };
    this.#marksOf(stream).set(origin, mark);
    this.#changedMarks.push({ stream, origin });
    return true;
  }

  /** Forgets which messages of a stream were read: they come again. Call in a write transaction. */
  forgetMarks(stream: string): void {
    this.#marks.delete(stream);
    this.connection.statement("DELETE FROM __marmot__origin WHERE stream = ?").run([stream]);
  }

  /** Whether a newer message of the origin was read in this stream. */
  isBehind(stream: string, origin: NodeId, { run, number }: OriginMark): boolean {
    const highest = this.#marks.get(stream)?.get(origin);
    return highest !== undefined && (run < highest.run || (run === highest.run && number < highest.number));
  }

  /** Takes over how far another database has read a stream, also where this one has read further. Call in a write transaction. */
  takeOver(stream: string, from: StreamPositions): void {
    this.connection.statement("DELETE FROM __marmot__origin WHERE stream = ?").run([stream]);
    this.#marks.set(stream, new Map(from.#marks.get(stream)));
    for (const origin of this.#marksOf(stream).keys()) this.#changedMarks.push({ stream, origin });
    this.set(from.get(stream));
    this.save();
  }

  /** The mark of an origin in a stream, undefined where none of its messages was read. */
  markOf(stream: string, origin: NodeId): OriginMark | undefined {
    return this.#marks.get(stream)?.get(origin);
  }

  /** Forgets the message that was accepted last: it comes once more. */
  takeBack(): void {
    this.#takeBack();
  }

  /** Whether a message of an origin was read: it, or a later one. */
  isRead(stream: string, origin: NodeId, { run, number }: OriginMark): boolean {
    const highest = this.#marks.get(stream)?.get(origin);
    return highest !== undefined && (run < highest.run || (run === highest.run && number <= highest.number));
  }

  /** The highest run of an origin that was read in any stream, 0 if none was. */
  highestRun(origin: NodeId): number {
    return Math.max(0, ...[...this.#marks.values()].map((marks) => marks.get(origin)?.run ?? 0));
  }

  /** Writes what has changed. Call last in a write transaction. */
  save(): void {
    for (const name of this.#changedPositions) {
      const { createdAt, cursor, storedAt } = this.get(name);
      this.connection.statement(
        "INSERT INTO __marmot__stream (name, created_at, cursor, stored_at) VALUES (?, ?, ?, ?) " +
          "ON CONFLICT (name) DO UPDATE SET created_at = excluded.created_at, cursor = excluded.cursor, stored_at = excluded.stored_at",
      ).run([name, createdAt, BigInt(cursor), storedAt]);
    }
    const written = new Set<OriginMark>();
    for (const { stream, origin } of this.#changedMarks) {
      const mark = this.#marks.get(stream)?.get(origin);
      if (!mark || written.has(mark)) continue;
      written.add(mark);
      this.connection.statement(
        "INSERT INTO __marmot__origin (stream, origin, run, number) VALUES (?, ?, ?, ?) " +
          "ON CONFLICT (stream, origin) DO UPDATE SET run = excluded.run, number = excluded.number",
      ).run([stream, origin.toString(), BigInt(mark.run), BigInt(mark.number)]);
    }
    this.#changedPositions.clear();
    this.#changedMarks.length = 0;
  }

  #marksOf(stream: string): Map<NodeId, OriginMark> {
    const marks = this.#marks.get(stream) ?? new Map<NodeId, OriginMark>();
    this.#marks.set(stream, marks);
    return marks;
  }
}
