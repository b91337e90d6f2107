/**
 * Writes CBOR (RFC 8949) item by item into one growing buffer. Integers and lengths take their shortest form,
 * INTEGER and REAL never mix: a bigint is always an integer, a number always a double of 8 bytes.
 *
 * Not a general encoder: a JavaScript value does not say whether 1 is INTEGER or REAL, so the caller does.
 */
import { MarmotError } from "../errors.ts";

/** The CBOR major types (RFC 8949, section 3.1), as they stand in an initial byte. */
export const Major = {
  unsigned: 0x00,
  negative: 0x20,
  bytes: 0x40,
  text: 0x60,
  array: 0x80,
  map: 0xa0,
  tag: 0xc0,
  simple: 0xe0,
} as const;

export const INT64_MIN = -(2n ** 63n);
export const INT64_MAX = 2n ** 63n - 1n;
export const UINT64_MAX = 2n ** 64n - 1n;

const INITIAL_SIZE_BYTES = 512;
const LONGEST_HEAD_BYTES = 9;
const INT32_MIN_BIGINT = -0x80000000n;
const INT32_MAX_BIGINT = 0x7fffffffn;
/** Up to this length a loop over ASCII beats the call into TextEncoder. */
const SHORT_TEXT_LENGTH = 40;

const textEncoder = new TextEncoder();

export class CborWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  /** `expectedBytes`: about as many are written; a buffer that has to grow is copied each time. */
  constructor(expectedBytes = 0) {
    this.#bytes = new Uint8Array(Math.max(expectedBytes, INITIAL_SIZE_BYTES));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** What was written so far, as a copy. */
  toBytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  /** An array of `length` items follows. */
  writeArray(length: number): void {
    this.#writeHead(Major.array, length);
  }

  /** An array of unknown length follows, ended by `writeBreak`. */
  writeIndefiniteArray(): void {
    this.#writeByte(0x9f);
  }

  writeBreak(): void {
    this.#writeByte(0xff);
  }

  /** A map of `length` pairs follows. */
  writeMap(length: number): void {
    this.#writeHead(Major.map, length);
  }

  /** The next item carries this tag. */
  writeTag(tag: number): void {
    this.#writeHead(Major.tag, tag);
  }

  writeNull(): void {
    this.#writeByte(0xf6);
  }

  writeBoolean(value: boolean): void {
    this.#writeByte(value ? 0xf5 : 0xf4);
  }

  /** A count: a safe integer, not negative. */
  writeCount(value: number): void {
    this.#writeHead(Major.unsigned, value);
  }

  /** An integer from -2^64 to 2^64 - 1. */
  writeInteger(value: bigint): void {
    if (value >= INT32_MIN_BIGINT && value <= INT32_MAX_BIGINT) {
      const small = Number(value);
      if (small >= 0) this.#writeHead(Major.unsigned, small);
      else this.#writeHead(Major.negative, -1 - small);
    } else if (value >= 0n) this.#writeLargeHead(Major.unsigned, value);
    else this.#writeLargeHead(Major.negative, -1n - value);
  }

  /** A double of 8 bytes, whatever its value. */
  writeDouble(value: number): void {
    this.#reserve(9);
    this.#bytes[this.#length] = 0xfb;
    this.#view.setFloat64(this.#length + 1, value);
    this.#length += 9;
  }

  /** A half float by its 16 bits. */
  writeHalfFloat(bits: number): void {
    this.#reserve(3);
    this.#bytes[this.#length] = 0xf9;
    this.#view.setUint16(this.#length + 1, bits);
    this.#length += 3;
  }

  writeBytes(bytes: Uint8Array): void {
    this.#writeHead(Major.bytes, bytes.length);
    this.#writeRaw(bytes);
  }

  /** Text by its bytes; that they are UTF-8 is for the caller to know. */
  writeTextBytes(bytes: Uint8Array): void {
    this.#writeHead(Major.text, bytes.length);
    this.#writeRaw(bytes);
  }

  /** Throws a MarmotError ("wire") for lone surrogates: UTF-8 has no bytes for them. */
  writeText(text: string): void {
    if (text.length > SHORT_TEXT_LENGTH || !this.#writeShortAscii(text)) this.#writeUnicode(text);
  }

  #writeShortAscii(text: string): boolean {
    this.#reserve(LONGEST_HEAD_BYTES + text.length);
    let at = this.#length + (text.length < 24 ? 1 : 2);
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 0x7f) return false;
      this.#bytes[at++] = unit;
    }
    this.#writeHead(Major.text, text.length);
    this.#length = at;
    return true;
  }

  /** The head stands before the text and its size follows from the text's, so it is guessed, then put right. */
  #writeUnicode(text: string): void {
    if (!text.isWellFormed()) {
      throw new MarmotError(
        "wire",
        "cannot encode a string that holds a lone surrogate: it has no UTF-8 form",
      );
    }
    this.#reserve(LONGEST_HEAD_BYTES + 3 * text.length);
    const guessedSize = headSize(text.length);
    const start = this.#length + guessedSize;
    const { written } = textEncoder.encodeInto(text, this.#bytes.subarray(start));
    const size = headSize(written);
    if (size !== guessedSize) this.#bytes.copyWithin(this.#length + size, start, start + written);
    this.#writeHead(Major.text, written);
    this.#length += written;
  }

  #writeHead(major: number, argument: number): void {
    this.#reserve(LONGEST_HEAD_BYTES);
    if (argument < 24) {
      this.#bytes[this.#length++] = major | argument;
    } else if (argument < 0x100) {
      this.#bytes[this.#length++] = major | 24;
      this.#bytes[this.#length++] = argument;
    } else if (argument < 0x10000) {
      this.#bytes[this.#length++] = major | 25;
      this.#view.setUint16(this.#length, argument);
      this.#length += 2;
    } else if (argument < 0x100000000) {
      this.#bytes[this.#length++] = major | 26;
      this.#view.setUint32(this.#length, argument);
      this.#length += 4;
    } else this.#writeLargeHead(major, BigInt(argument));
  }

  #writeLargeHead(major: number, argument: bigint): void {
    if (argument <= 0xffffffffn) return this.#writeHead(major, Number(argument));
    this.#reserve(LONGEST_HEAD_BYTES);
    this.#bytes[this.#length++] = major | 27;
    this.#view.setBigUint64(this.#length, argument);
    this.#length += 8;
  }

  #writeByte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = byte;
  }

  #writeRaw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(sizeBytes: number): void {
    const needed = this.#length + sizeBytes;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

function headSize(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x10000) return 3;
  return argument < 0x100000000 ? 5 : 9;
}
