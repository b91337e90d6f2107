/** Values as a person reads them in the name of a row; long ones are cut. */
import { RawText, type Value } from "../../wire/value.ts";

const MAX_LETTERS = 60;
const MAX_BYTES = 16;

/** As SQL writes it, but for TEXT, which stands in double quotes. */
export function showValue(value: Value): string {
  if (value === null) return "NULL";
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return Number.isInteger(value) ? `${value}.0` : String(value);
  if (typeof value === "string") {
    const isCut = value.length > MAX_LETTERS;
    return isCut
      ? `${JSON.stringify(value.slice(0, MAX_LETTERS))}… (${value.length} letters)`
      : JSON.stringify(value);
  }
  return value instanceof RawText ? `text ${showBytes(value.bytes)}` : showBytes(value);
}

function showBytes(bytes: Uint8Array): string {
  const shown = `x'${bytes.subarray(0, MAX_BYTES).toHex()}'`;
  return bytes.length > MAX_BYTES ? `${shown}… (${bytes.length} bytes)` : shown;
}
