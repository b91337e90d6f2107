/** Reads the recorded vectors of the original v0.6 (provenance and conventions: README.md beside this file). */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { RawText } from "../../src/wire/value.ts";
import type { ValueV06 } from "../../src/wire/value_v06.ts";

/** A value as the vectors write it. */
export type VectorValue = readonly [kind: string, value: unknown];

export interface VectorPayload {
  id: string;
  type: "insert" | "update" | "delete";
  tableName: string;
  row: (readonly [column: string, kind: string, value: unknown, goType?: string])[] | null;
}

export function readVectors<T>(file: string): T {
  return JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8"));
}

export function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** The value in its own form; `other` kinds in the form that stands on the wire. */
export function toValue([kind, value]: VectorValue): ValueV06 {
  switch (kind) {
    case "null":
      return null;
    case "integer":
      return BigInt(value as string);
    case "real":
      return new DataView(fromHex(value as string).buffer).getFloat64(0);
    case "text":
      return toText(value as string | { repeat: string; times: number });
    case "blob":
      return fromHex(value as string);
    case "bool":
      return value as boolean;
    case "other":
      return toOther(value as OtherValue);
    default:
      throw new Error(`vector of unknown kind ${kind}`);
  }
}

interface OtherValue {
  go: string;
  value?: unknown;
  hex?: string;
  isZero?: boolean;
  wire?: VectorValue;
}

function toOther(other: OtherValue): ValueV06 {
  if (other.wire !== undefined) return toValue(other.wire);
  if (other.hex !== undefined) return new RawText(fromHex(other.hex));
  if (other.go === "bool") return other.value as boolean;
  if (other.go !== "time.Time") throw new Error(`vector of unknown Go type ${other.go}`);
  return other.isZero ? null : BigInt(Math.floor(Date.parse(other.value as string) / 1000));
}

function toText(text: string | { repeat: string; times: number }): string {
  return typeof text === "string" ? text : text.repeat.repeat(text.times);
}
