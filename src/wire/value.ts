/**
 * SQLite values with their exact storage class. A value that went through any part of Marmot (read, encoded,
 * stored, decoded, written) has the storage class and the bytes that it had before.
 */

/** TEXT whose bytes are not UTF-8, so that no JavaScript string can carry it. */
export class RawText {
  constructor(readonly bytes: Uint8Array) {}
}

/**
 * One SQLite value: NULL is null, INTEGER is bigint (-2^63 to 2^63 - 1), REAL is number (never NaN), TEXT is
 * string, or RawText where it is not UTF-8, BLOB is Uint8Array.
 * Source: https://www.sqlite.org/datatype3.html, section 2.
 */
export type Value = null | bigint | number | string | Uint8Array | RawText;

/** Whether two values have the same storage class and the same bytes; -0.0 differs from 0.0, 1 from 1.0. */
export function isSameValue(a: Value | undefined, b: Value | undefined): boolean {
  if (Object.is(a, b)) return true;
  if (a instanceof Uint8Array) return b instanceof Uint8Array && isSameBytes(a, b);
  if (a instanceof RawText) return b instanceof RawText && isSameBytes(a.bytes, b.bytes);
  return false;
}

function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
