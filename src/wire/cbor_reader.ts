/**
 * Reads CBOR (RFC 8949) item by item. Every length is checked against the bytes that are left before anything is
 * allocated for it, nothing recurses, and text must be UTF-8: whatever the bytes are, the only thing thrown is
 * MalformedMessageError.
 *
 * The typed methods read definite lengths only; `readHead` is for readers that take more (cbor_item.ts).
 * Why not cborg's decoder: it turns bad UTF-8 into U+FFFD, drops a leading U+FEFF, and overflows the stack on nested
 * arrays (tests/wire/cbor_test.ts shows each).
 */
import { Buffer, isAscii } from "node:buffer";
import { MalformedMessageError } from "../errors.ts";
import { Major } from "./cbor_writer.ts";

/** The additional information (RFC 8949, section 3) that stands for an indefinite length. */
export const INDEFINITE = 31;

const HAS_NO_INDEFINITE_FORM = new Set<number>([Major.unsigned, Major.negative, Major.tag]);
/** Up to this length a loop over ASCII beats the call into Buffer. */
const SHORT_TEXT_BYTES = 12;
/** From this length on a call into isAscii beats a loop over the bytes. */
const LONG_TEXT_BYTES = 200;

/** `ignoreBOM` keeps a leading U+FEFF: it belongs to the value. */
const textDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class CborReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #buffer: Buffer;
  #offset = 0;

  /** Major type of the last head, one of `Major`. */
  major = 0;
  /** Additional information of the last head, 0 to 31. */
  information = 0;
  /** Argument of the last head; not exact above 2^53, where `wideArgument` is. */
  argument = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** The next initial byte, without moving on. */
  peek(): number {
    const byte = this.#bytes[this.#offset];
    return byte === undefined ? this.#failTruncated() : byte;
  }

  /** Moves on by one byte that `peek` has shown. */
  skipByte(): void {
    this.#offset++;
  }

  /** Reads an initial byte and its argument; returns the major type. */
  readHead(): number {
    const initial = this.peek();
    this.#offset++;
    this.major = initial & 0xe0;
    this.information = initial & 0x1f;
    if (this.information < 24) this.argument = this.information;
    else this.#readLongArgument(this.information);
    return this.major;
  }

  /** The argument of the last head exactly, where it took 8 bytes. */
  get wideArgument(): bigint {
    return this.information === 27 ? this.#view.getBigUint64(this.#offset - 8) : BigInt(this.argument);
  }

  /** Whether the argument of the last head is below 2^63, as that of every 64-bit signed integer. */
  get isBelow63Bits(): boolean {
    return this.information !== 27 || this.#bytes[this.#offset - 8]! < 0x80;
  }

  /** The float that the last head was: major `simple`, 25 (half), 26 (single) or 27 (double). */
  get float(): number {
    if (this.information === 27) return this.#view.getFloat64(this.#offset - 8);
    if (this.information === 26) return this.#view.getFloat32(this.#offset - 4);
    return halfFloat(this.argument);
  }

  /** The next `length` bytes; they share memory with the message. */
  takeBytes(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** The next `length` bytes as text. */
  takeText(length: number): string {
    const start = this.#advance(length);
    const end = start + length;
    if (length <= SHORT_TEXT_BYTES) {
      let text = "";
      let at = start;
      for (; at < end; at++) {
        const byte = this.#bytes[at]!;
        if (byte > 0x7f) break;
        text += String.fromCharCode(byte);
      }
      if (at === end) return text;
    } else if (this.#isAscii(start, end)) {
      return this.#buffer.toString("latin1", start, end);
    }
    try {
      return textDecoder.decode(this.#bytes.subarray(start, end));
    } catch (cause) {
      throw new MalformedMessageError("text is not UTF-8", { cause });
    }
  }

  /** Length of the definite array that begins here; not more than the bytes left, so it is safe to allocate. */
  readArray(what: string): number {
    if (this.readHead() !== Major.array || this.information === INDEFINITE) this.#fail(what, "an array");
    if (this.argument > this.remaining) this.#failTruncated();
    return this.argument;
  }

  readText(what: string): string {
    if (this.readHead() !== Major.text || this.information === INDEFINITE) this.#fail(what, "text");
    return this.takeText(this.argument);
  }

  /** Bytes that share memory with the message. */
  readBytes(what: string): Uint8Array {
    if (this.readHead() !== Major.bytes || this.information === INDEFINITE) this.#fail(what, "bytes");
    return this.takeBytes(this.argument);
  }

  /** An integer from 0 to 2^53 - 1. */
  readCount(what: string): number {
    if (this.readHead() !== Major.unsigned || this.argument > Number.MAX_SAFE_INTEGER) {
      this.#fail(what, "an integer from 0 to 2^53 - 1");
    }
    return this.argument;
  }

  /** An integer from 0 to 2^64 - 1. */
  readUnsigned(what: string): bigint {
    if (this.readHead() !== Major.unsigned) this.#fail(what, "an unsigned integer");
    return this.wideArgument;
  }

  #readLongArgument(information: number): void {
    if (information === 24) {
      this.argument = this.#bytes[this.#advance(1)]!;
    } else if (information === 25) {
      this.argument = this.#view.getUint16(this.#advance(2));
    } else if (information === 26) {
      this.argument = this.#view.getUint32(this.#advance(4));
    } else if (information === 27) {
      const start = this.#advance(8);
      this.argument = this.#view.getUint32(start) * 0x100000000 + this.#view.getUint32(start + 4);
    } else if (information !== INDEFINITE || HAS_NO_INDEFINITE_FORM.has(this.major)) {
      throw new MalformedMessageError(`additional information ${information} is reserved`);
    } else this.argument = INDEFINITE;
  }

  #advance(length: number): number {
    if (length > this.remaining) this.#failTruncated();
    const start = this.#offset;
    this.#offset += length;
    return start;
  }

  #isAscii(start: number, end: number): boolean {
    if (end - start >= LONG_TEXT_BYTES) return isAscii(this.#bytes.subarray(start, end));
    for (let i = start; i < end; i++) if (this.#bytes[i]! > 0x7f) return false;
    return true;
  }

  #fail(what: string, expected: string): never {
    throw new MalformedMessageError(`${what} is not ${expected}`);
  }

  #failTruncated(): never {
    throw new MalformedMessageError("the message ends too early");
  }
}

/** RFC 8949, appendix D. */
function halfFloat(bits: number): number {
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  let magnitude = (fraction + 1024) * 2 ** (exponent - 25);
  if (exponent === 0) magnitude = fraction * 2 ** -24;
  if (exponent === 31) magnitude = fraction === 0 ? Infinity : NaN;
  return bits & 0x8000 ? -magnitude : magnitude;
}
