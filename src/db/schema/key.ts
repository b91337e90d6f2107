/**
 * When two keys name the same row: the equality of SQLite's index on the key, as a value that a Map can hold.
 * 1 and 1.0 are the same key in an untyped column, 'a' and 'A' are under NOCASE.
 */
import { RawText, type Value } from "../../wire/value.ts";

/** Equal identities, in one table, name the same row. */
export type KeyIdentity = string | number;

/** An identity as a column holds it; text goes as bytes, because a key may hold NUL. */
export function storedIdentity(identity: KeyIdentity): Value {
  return typeof identity === "number" ? BigInt(identity) : new TextEncoder().encode(identity);
}

/** Whether the key has a NULL in it: such a key names any number of rows. */
export function hasNull(key: readonly Value[]): boolean {
  return key.includes(null);
}

/** The identity of a key (or of an index entry) whose columns have these collations. */
export function keyIdentity(key: readonly Value[], collations: readonly string[]): KeyIdentity {
  if (key.length === 1) {
    const only = key[0];
    if (typeof only === "bigint" && only >= -0x7fffffffn && only <= 0x7fffffffn) return Number(only);
    if (typeof only === "number" && Number.isInteger(only) && Math.abs(only) <= 0x7fffffff) return only + 0;
  }
  let identity = "";
  for (let i = 0; i < key.length; i++) {
    const part = partIdentity(key[i] ?? null, collations[i] ?? "BINARY");
    identity += key.length === 1 ? part : `${part.length}:${part}`;
  }
  return identity;
}

function partIdentity(value: Value, collation: string): string {
  if (value === null) return "n";
  if (typeof value === "bigint") return `i${value}`;
  if (typeof value === "number") return Number.isInteger(value) ? `i${integerText(value)}` : `r${value}`;
  if (typeof value === "string") {
    const isCut = collation.toUpperCase() === "NOCASE" && value.includes("\0");
    return isCut ? cutIdentity(new TextEncoder().encode(value)) : `t${foldText(value, collation)}`;
  }
  if (value instanceof RawText) {
    const isCut = collation.toUpperCase() === "NOCASE" && value.bytes.includes(0);
    return isCut ? cutIdentity(value.bytes) : `x${foldText(latin1(value.bytes), collation)}`;
  }
  return `b${latin1(value)}`;
}

/** An integral REAL compares equal to the INTEGER of the same value; -0.0 to 0. */
function integerText(value: number): string {
  return BigInt(value).toString();
}

/** Source: https://www.sqlite.org/datatype3.html, section 7.1. */
function foldText(text: string, collation: string): string {
  switch (collation.toUpperCase()) {
    case "NOCASE":
      return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
    case "RTRIM":
      return text.replace(/ +$/, "");
    default:
      return text;
  }
}

/** NOCASE looks at text up to a NUL, then at the number of bytes. Source: nocaseCollatingFunc in SQLite's main.c. */
function cutIdentity(bytes: Uint8Array): string {
  return `c${bytes.length}:${foldText(latin1(bytes.subarray(0, bytes.indexOf(0))), "NOCASE")}`;
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
