/** What a stream says, read anew from its first message, without the engine: which messages count, and what is in them. */
import { type BatchBody, decodeBody, type Envelope } from "../../src/wire/batch_codec.ts";
import type { StoredMessage } from "../../src/stream/change_streams.ts";
import { decodeMessage } from "../../src/wire/message.ts";
import { RawText, type Value } from "../../src/wire/value.ts";

/** A message that counts, with its body once the last part of it has come. */
export interface SoundMessage {
  readonly origin: number;
  readonly run: number;
  readonly top: number;
  readonly body: BatchBody;
}

interface Mark {
  run: number;
  number: number;
}

/** The envelope of a message of our own format. */
export function readEnvelope({ format, payload }: StoredMessage): Envelope {
  const decoded = decodeMessage(format, payload);
  if (decoded.kind !== "batch") throw new Error("a message is of the original's format");
  return decoded.envelope;
}

export class StreamReading {
  readonly #marks = new Map<bigint, Mark>();
  readonly #parts = new Map<bigint, Envelope[]>();

  /** The highest message read of each origin, in words. */
  get marks(): string {
    return [...this.#marks].map(([origin, { run, number }]) => `${origin}:${run}/${number}`).sort().join(" ");
  }

  /** Takes the next message. Undefined if it is older than one of its origin that was read, or other parts are to come. */
  take(message: StoredMessage): SoundMessage | undefined {
    const envelope = readEnvelope(message);
    const { origin, run, number, part, top } = envelope;
    const mark = this.#marks.get(origin);
    if (mark && (run < mark.run || (run === mark.run && number <= mark.number))) return undefined;
    this.#marks.set(origin, { run, number });
    const body = envelope.parts === 1 ? envelope.body : this.#join(envelope);
    if (part === 0 && envelope.parts === 1) this.#parts.delete(origin);
    return body && { origin: Number(origin), run, top, body: decodeBody(body) };
  }

  #join(envelope: Envelope): Uint8Array | undefined {
    const { origin, part, parts, run, number } = envelope;
    const before = part === 0 ? [] : this.#parts.get(origin) ?? [];
    const last = before.at(-1);
    const isNext = part === 0 || (last?.part === part - 1 && last.run === run && last.number === number - 1);
    const all = isNext ? [...before, envelope] : [];
    this.#parts.set(origin, all);
    if (all.length < parts) return undefined;
    this.#parts.delete(origin);
    return new Uint8Array(all.flatMap(({ body }) => [...body]));
  }
}

/** A row as text, column by column. */
export type RowText = Readonly<Record<string, string>>;

/** An exact value as text: equal texts mean the same storage class and bytes. */
export function valueText(value: unknown): string {
  if (value === null || value === undefined) return "NULL";
  if (typeof value === "bigint") return `${value}`;
  if (typeof value === "string") return `'${value}'`;
  if (value instanceof RawText) return `text x'${hex(value.bytes)}'`;
  if (value instanceof Uint8Array) return `x'${hex(value)}'`;
  if (Object.is(value, -0)) return "-0.0";
  return Number.isInteger(value) ? `${value}.0` : `${value}`;
}

/** Equal texts mean the same row: 1 and 1.0 are one key, and 'a' and 'A' where the key folds. */
export function keyText(key: readonly unknown[], isFolded: boolean): string {
  return key.map((value) => {
    if (typeof value === "bigint" || typeof value === "number") return `${Number(value) + 0}`;
    const text = valueText(value);
    return isFolded ? text.toLowerCase() : text;
  }).join(",");
}

/** The rows that an event brings, as text by column. */
export function rowTexts(body: BatchBody, event: BatchBody["events"][number]): RowText[] {
  const rows = event.kind === "upsert" ? [event.row] : event.kind === "list" ? event.rows : [];
  return rows.map((row) => rowText(body.columns, row));
}

export function rowText(columns: readonly (string | null)[], row: readonly unknown[]): RowText {
  return Object.fromEntries(columns.map((column, i) => [column ?? "rowid", valueText(row[i])]));
}

/** The key that an event names. */
export function keyOf(body: BatchBody, event: BatchBody["events"][number]): readonly Value[] {
  if (event.kind !== "upsert") return event.key;
  return body.key.map((position) => event.row[position] ?? null);
}

/** Whether these are the same rows, in the columns that both have. */
export function isSameRows(some: readonly RowText[], others: readonly RowText[]): boolean {
  if (some.length !== others.length) return false;
  const left = [...others];
  return some.every((row) => {
    const at = left.findIndex((other) =>
      Object.entries(row).every(([name, text]) => (other[name] ?? text) === text)
    );
    if (at !== -1) left.splice(at, 1);
    return at !== -1;
  });
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
