/**
 * Digests of rows, 128 bits each. The digest of many rows is the sum of theirs, lane by lane: it does not depend on the
 * order in which they are read, and two equal rows count twice.
 */
import { murmur3 } from "../../wire/murmur3.ts";
import type { KeyIdentity } from "../schema/key.ts";
import type { ScannedRow } from "./row_scan.ts";

const LANES = 4;
const INITIAL_BYTES = 1024;
/** A longer value goes in as its own digest, so that it is not copied. */
const LONG_VALUE_BYTES = 16 * 1024;

/** What a value begins with; part of what nodes compare, so a change needs another protocol version. */
const Tag = { null: 0, integer: 1, real: 2, text: 3, blob: 4, longText: 5, longBlob: 6 } as const;

const textEncoder = new TextEncoder();

export class RowHasher {
  /** Digest of the last row. */
  readonly row = new Uint32Array(LANES);
  readonly #identity = new Uint32Array(LANES);
  readonly #value = new Uint32Array(LANES);
  #bytes = new Uint8Array(INITIAL_BYTES);
  #view = new DataView(this.#bytes.buffer);

  /** Hashes the values at `positions`, in that order, into `row`. Returns how many bytes they have. */
  hashRow({ values, isText }: ScannedRow, positions: readonly number[]): number {
    let length = 0;
    let size = 0;
    for (const position of positions) {
      const value = values[position] ?? null;
      const valueBytes = value instanceof Uint8Array ? value.length : 8;
      size += valueBytes;
      this.#reserve(length + 5 + Math.min(valueBytes, LONG_VALUE_BYTES));
      if (value === null) {
        this.#bytes[length++] = Tag.null;
      } else if (typeof value === "bigint") {
        this.#bytes[length] = Tag.integer;
        this.#view.setBigInt64(length + 1, value, true);
        length += 9;
      } else if (typeof value === "number") {
        this.#bytes[length] = Tag.real;
        this.#view.setFloat64(length + 1, value, true);
        length += 9;
      } else {
        length = this.#putBytes(length, value, isText[position] === true);
      }
    }
    murmur3(this.#bytes, length, this.row);
    return size;
  }

  /** Hashes what tells a key from others, for `identityBits` and `identityText`. */
  hashIdentity(identity: KeyIdentity): void {
    let length = 5;
    if (typeof identity === "number") {
      this.#bytes[0] = Tag.integer;
      this.#view.setInt32(1, identity, true);
    } else {
      this.#reserve(1 + 3 * identity.length);
      this.#bytes[0] = Tag.text;
      length = 1 + textEncoder.encodeInto(identity, this.#bytes.subarray(1)).written;
    }
    murmur3(this.#bytes, length, this.#identity);
  }

  /** 32 bits of the last identity's hash. */
  get identityBits(): number {
    return this.#identity[0]!;
  }

  /** 64 bits of the last identity's hash, as 16 hexadecimal digits. */
  get identityText(): string {
    return hexOf(this.#identity.subarray(0, 2));
  }

  #putBytes(at: number, value: Uint8Array, isText: boolean): number {
    this.#view.setUint32(at + 1, value.length, true);
    if (value.length <= LONG_VALUE_BYTES) {
      this.#bytes[at] = isText ? Tag.text : Tag.blob;
      this.#bytes.set(value, at + 5);
      return at + 5 + value.length;
    }
    this.#bytes[at] = isText ? Tag.longText : Tag.longBlob;
    murmur3(value, value.length, this.#value);
    for (const [lane, word] of this.#value.entries()) this.#view.setUint32(at + 5 + 4 * lane, word, true);
    return at + 5 + 4 * LANES;
  }

  #reserve(size: number): void {
    if (size + 16 <= this.#bytes.length) return;
    const larger = new Uint8Array(2 * (size + 16));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Adds a digest to the one at `index` of many. */
export function addDigest(sums: Uint32Array, index: number, digest: Uint32Array): void {
  for (let lane = 0; lane < LANES; lane++) {
    sums[LANES * index + lane] = sums[LANES * index + lane]! + digest[lane]!;
  }
}

/** The digest at `index` of many, in hexadecimal digits. */
export function digestAt(sums: Uint32Array, index: number): string {
  return hexOf(sums.subarray(LANES * index, LANES * (index + 1)));
}

export function newDigests(count: number): Uint32Array {
  return new Uint32Array(LANES * count);
}

function hexOf(words: Uint32Array): string {
  let text = "";
  for (const word of words) text += word.toString(16).padStart(8, "0");
  return text;
}
