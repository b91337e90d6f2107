/**
 * How the original v0.6 writes one value: integers in their shortest form, REAL as 8 bytes except infinities and NaN,
 * which are half floats. Rows and row hashes are both made of these, so two nodes that write a value differently
 * route one row to two shards.
 */
import { MarmotError } from "../errors.ts";
import { type CborWriter, INT64_MAX, INT64_MIN } from "./cbor_writer.ts";
import { RawText, type Value } from "./value.ts";

/** A value of v0.6: it reads integers of columns declared BOOLEAN as booleans, and so they stand in its messages. */
export type ValueV06 = Value | boolean;

const HALF_INFINITY = 0x7c00;
const HALF_MINUS_INFINITY = 0xfc00;
const HALF_NAN = 0x7e00;

/** Writes TEXT that is not UTF-8 as invalid CBOR text, as v0.6 does: fit for hashing, not for a message. */
export function writeValueV06(writer: CborWriter, value: ValueV06): void {
  if (value === null) writer.writeNull();
  else if (typeof value === "string") writer.writeText(value);
  else if (typeof value === "bigint") writer.writeInteger(checkInt64(value));
  else if (typeof value === "number") writeReal(writer, value);
  else if (typeof value === "boolean") writer.writeBoolean(value);
  else if (value instanceof RawText) writer.writeTextBytes(value.bytes);
  else writer.writeBytes(value);
}

function writeReal(writer: CborWriter, value: number): void {
  if (value === Infinity) writer.writeHalfFloat(HALF_INFINITY);
  else if (value === -Infinity) writer.writeHalfFloat(HALF_MINUS_INFINITY);
  else if (Number.isNaN(value)) writer.writeHalfFloat(HALF_NAN);
  else writer.writeDouble(value);
}

/** The value, when SQLite's INTEGER can hold it. */
export function checkInt64(value: bigint): bigint {
  if (value >= INT64_MIN && value <= INT64_MAX) return value;
  throw new MarmotError("wire", `cannot encode INTEGER ${value}: it does not fit in 64 bits`);
}
