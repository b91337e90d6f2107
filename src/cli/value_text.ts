/**
 * How a row's values look to a person and in JSON. Both tell the storage classes apart and keep 64-bit integers exact.
 * JSON: NULL is null, every other value an object of one field that names its storage class:
 * {"integer": "9007199254740993"}, {"real": "1.0"}, {"text": "a"}, {"blob": "00ff"} in hex; TEXT that is not UTF-8 is
 * {"text-hex": "ff"}.
 */

import type { ChangeEvent } from "../wire/batch.ts";
import type { BatchBody } from "../wire/batch_codec.ts";
import { RawText, type Value } from "../wire/value.ts";

/** Longer TEXT and BLOBs are cut in text; JSON has them whole. */
const SHOWN_LETTERS = 60;
const SHOWN_BYTES = 16;
const SHOWN_SUMMARY = 200;

export type JsonValue = null | Readonly<Record<string, string>>;

export function valueJson(value: Value): JsonValue {
  if (value === null) return null;
  if (typeof value === "bigint") return { integer: value.toString() };
  if (typeof value === "number") return { real: realText(value) };
  if (typeof value === "string") return { text: value };
  if (value instanceof RawText) return { "text-hex": value.bytes.toHex() };
  return { blob: value.toHex() };
}

/** A value on one line, as SQL writes it but for TEXT, which stands in double quotes with its control characters escaped. */
export function valueText(value: Value): string {
  if (value === null) return "NULL";
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return realText(value);
  if (typeof value === "string") return quotedText(value);
  if (value instanceof RawText) return `text ${bytesText(value.bytes)}`;
  return bytesText(value);
}

/** A name or a reason that another node may have chosen: nothing in it can move the cursor of a terminal. */
export function plainText(text: string): string {
  return JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("\\\\", "\\")
    .replaceAll(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, escaped);
}

/** Milliseconds since 1970, as a date. */
export function timeText(atMs: number): string {
  return Number.isFinite(atMs) && Math.abs(atMs) <= 8.64e15
    ? new Date(atMs).toISOString()
    : "at an unknown time";
}

/** The events of a batch, each on lines of "column = value". */
export function eventLines(body: BatchBody, indent: string): string[] {
  return body.events.flatMap((event) => linesOf(body, event)).map((line) => indent + line);
}

/** One event on one line, cut where it is long. */
export function eventSummary(body: BatchBody, event: ChangeEvent): string {
  const text = linesOf(body, event).map((line) => line.trimStart()).join(", ").replace(":, row ", ": row ");
  return text.length > SHOWN_SUMMARY ? `${text.slice(0, SHOWN_SUMMARY)}…` : text;
}

export interface JsonEvent {
  readonly kind: ChangeEvent["kind"];
  /** Of a deletion and of a list: the key's columns. */
  readonly key?: Readonly<Record<string, JsonValue>>;
  readonly rows?: readonly Readonly<Record<string, JsonValue>>[];
}

export function eventsJson(body: BatchBody): JsonEvent[] {
  const keyNames = body.key.map((position) => columnName(body, position));
  const row = (values: readonly Value[]) =>
    record(values.map((_, i) => columnName(body, i)), values.map(valueJson));
  return body.events.map((event) => ({
    kind: event.kind,
    ...(event.kind === "upsert" ? {} : { key: record(keyNames, event.key.map(valueJson)) }),
    ...(event.kind === "delete"
      ? {}
      : { rows: event.kind === "upsert" ? [row(event.row)] : event.rows.map(row) }),
  }));
}

function linesOf(body: BatchBody, event: ChangeEvent): string[] {
  const pair = (value: Value, position: number) =>
    `${plainText(columnName(body, position))} = ${valueText(value)}`;
  if (event.kind === "upsert") return event.row.map(pair);
  const key = event.key.map((value, i) => pair(value, body.key[i] ?? i)).join(", ");
  if (event.kind === "delete") return [`deletion of ${key}`];
  const rows = event.rows.flatMap((row) => [`row ${row.map(pair).join(", ")}`]);
  return [`all ${event.rows.length} rows of ${key}:`, ...rows.map((row) => `  ${row}`)];
}

/** null stands for the rowid. */
function columnName({ columns }: BatchBody, position: number): string {
  return columns[position] ?? "rowid";
}

/** Without a prototype: a column may be called __proto__. */
function record<T>(names: readonly string[], values: readonly T[]): Record<string, T> {
  const result: Record<string, T> = Object.create(null);
  names.forEach((name, i) => result[name] = values[i] as T);
  return result;
}

function realText(value: number): string {
  if (Object.is(value, -0)) return "-0.0";
  return Number.isInteger(value) && Math.abs(value) < 1e21 ? `${value}.0` : String(value);
}

function quotedText(text: string): string {
  const letters = [...text.slice(0, 2 * SHOWN_LETTERS)];
  const isCut = letters.length > SHOWN_LETTERS;
  const shown = isCut ? letters.slice(0, SHOWN_LETTERS).join("") : text;
  const quoted = JSON.stringify(shown).replaceAll(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, escaped);
  return isCut ? `${quoted}… (${text.length} letters)` : quoted;
}

function bytesText(bytes: Uint8Array): string {
  if (bytes.length <= SHOWN_BYTES) return `x'${bytes.toHex()}'`;
  return `x'${bytes.subarray(0, SHOWN_BYTES).toHex()}'… (${bytes.length} bytes)`;
}

function escaped(letter: string): string {
  return `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
