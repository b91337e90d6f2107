/**
 * The original v0.6's routing by row: FNV-1 64 over an indefinite CBOR array of the table's name and, for each key
 * column in byte order of the names, the array [name, value]. Used with `wire-format = "v0.6"` only; a compatibility
 * constant (tests/golden/hash_v06.json).
 */
import { Buffer } from "node:buffer";
import { CborWriter } from "./cbor_writer.ts";
import { fnv1 } from "./fnv.ts";
import { type ValueV06, writeValueV06 } from "./value_v06.ts";

/** A key column's name and its value, in any order of columns. */
export type KeyColumn = readonly [name: string, value: ValueV06];

/**
 * The hash of a row, 0 to 2^64 - 1; `shardOfHash` gives its shard. A key column declared BOOLEAN is hashed as a boolean
 * and DATE, DATETIME or TIMESTAMP as integer seconds by v0.6: the caller passes those values in that form.
 */
export function rowHash(table: string, keyColumns: readonly KeyColumn[]): bigint {
  return fnv1(encodeRowHashInput(table, keyColumns));
}

/** The bytes that are hashed. */
export function encodeRowHashInput(table: string, keyColumns: readonly KeyColumn[]): Uint8Array {
  const writer = new CborWriter();
  writer.writeIndefiniteArray();
  writer.writeText(table);
  for (const [name, value] of sortByName(keyColumns)) {
    writer.writeArray(2);
    writer.writeText(name);
    writeValueV06(writer, value);
  }
  writer.writeBreak();
  return writer.toBytes();
}

/** By UTF-8 bytes: JavaScript's own order puts U+FFFD behind U+1F600. */
function sortByName(keyColumns: readonly KeyColumn[]): readonly KeyColumn[] {
  if (keyColumns.length < 2) return keyColumns;
  return keyColumns
    .map((column) => ({ column, name: Buffer.from(column[0]) }))
    .sort((a, b) => Buffer.compare(a.name, b.name))
    .map(({ column }) => column);
}
