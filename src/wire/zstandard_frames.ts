/**
 * The outer structure of Zstandard data (RFC 8878, section 3.1): finds where each frame ends without decompressing it,
 * and refuses frames that are cut short, that declare too much, or that would need too large a window.
 */
import { MalformedMessageError } from "../errors.ts";

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50; // and the 15 numbers behind it
/** Every decoder should manage this window (RFC 8878, section 3.1.1.1.2), however small the content. */
const MIN_WINDOW_LIMIT_BYTES = 8 * 1024 * 1024;
/** Nobody writes a message in more frames; each costs a call into zlib. */
const MAX_FRAMES = 1024;
const MAX_BLOCK_BYTES = 128 * 1024;

/** The data frames in `bytes`, whole and in order; skippable frames are left out. */
export function splitFrames(bytes: Uint8Array, maxBytes: number): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const cursor = new Cursor(bytes);
  if (bytes.length === 0) throw new MalformedMessageError("the compressed payload is empty");
  while (cursor.offset < bytes.length) {
    const start = cursor.offset;
    const magic = cursor.read(4);
    if (magic >= SKIPPABLE_MAGIC && magic < SKIPPABLE_MAGIC + 16) cursor.skip(cursor.read(4));
    else if (magic !== FRAME_MAGIC) {
      throw new MalformedMessageError("the compressed payload is not Zstandard");
    } else {
      walkFrame(cursor, maxBytes);
      frames.push(bytes.subarray(start, cursor.offset));
      if (frames.length > MAX_FRAMES) {
        throw new MalformedMessageError(`more than ${MAX_FRAMES} compressed frames`);
      }
    }
  }
  return frames;
}

/**
 * Where the frame ends with which `bytes` begin; undefined while they end before it does. Throws MalformedMessageError for
 * what is no data frame.
 */
export function firstFrameEnd(bytes: Uint8Array, maxBytes: number): number | undefined {
  const cursor = new Cursor(bytes);
  try {
    if (cursor.read(4) !== FRAME_MAGIC) {
      throw new MalformedMessageError("the compressed payload is not Zstandard");
    }
    walkFrame(cursor, maxBytes);
    return cursor.offset;
  } catch (error) {
    if (error instanceof CutShortError) return undefined;
    throw error;
  }
}

function walkFrame(cursor: Cursor, maxBytes: number): void {
  const descriptor = cursor.read(1);
  const hasChecksum = (descriptor & 0x04) !== 0;
  if ((descriptor & 0x08) !== 0) {
    throw new MalformedMessageError("a reserved bit of a compressed frame is set");
  }
  checkFrameHeader(cursor, { descriptor, maxBytes });
  let isLast = false;
  while (!isLast) {
    const header = cursor.read(3);
    isLast = (header & 1) === 1;
    const type = (header >> 1) & 3;
    const sizeBytes = header >> 3;
    if (type === 3 || sizeBytes > MAX_BLOCK_BYTES) {
      throw new MalformedMessageError("a compressed block is not valid");
    }
    cursor.skip(type === 1 ? 1 : sizeBytes); // 1 is a run of one byte
  }
  if (hasChecksum) cursor.skip(4);
}

/** Window, dictionary and content size, in this order; what is declared is checked before zlib allocates for it. */
function checkFrameHeader(
  cursor: Cursor,
  { descriptor, maxBytes }: { descriptor: number; maxBytes: number },
): void {
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  if (!isSingleSegment && windowSize(cursor.read(1)) > Math.max(maxBytes, MIN_WINDOW_LIMIT_BYTES)) {
    throw new MalformedMessageError("a compressed frame needs too large a window");
  }
  cursor.skip([0, 1, 2, 4][descriptor & 3]!);
  const sizeLength = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeFlag;
  const declaredBytes = cursor.read(sizeLength) + (sizeFlag === 1 ? 256 : 0);
  if (declaredBytes > maxBytes) {
    throw new MalformedMessageError(
      `the payload decompresses to ${declaredBytes} bytes, ${maxBytes} are allowed`,
    );
  }
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

class CutShortError extends MalformedMessageError {
  constructor() {
    super("the compressed payload ends too early");
  }
}

class Cursor {
  offset = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** A little-endian number; exact up to 2^53, which is far beyond any bound. */
  read(length: number): number {
    const start = this.offset;
    this.skip(length);
    let value = 0;
    for (let i = length - 1; i >= 0; i--) value = value * 256 + this.#bytes[start + i]!;
    return value;
  }

  skip(length: number): void {
    if (length > this.#bytes.length - this.offset) {
      throw new CutShortError();
    }
    this.offset += length;
  }
}
