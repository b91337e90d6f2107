/**
 * Zstandard over whole payloads, through node:zlib. Deno's decompressor stops behind the first frame and takes a frame
 * that is cut short for a whole one, so the frames are walked here first; what it is given is complete and bounded.
 */
import * as zlib from "node:zlib";
import { MalformedMessageError } from "../errors.ts";
import { splitFrames } from "./zstandard_frames.ts";

/** What a message may decompress to, unless the caller says otherwise. */
export const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

const FRAME_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const SKIPPABLE_MAGIC_END = [0x2a, 0x4d, 0x18]; // behind a byte from 0x50 to 0x5f

/** Whether the payload begins as a Zstandard frame, be it a skippable one; a CBOR map or array never does. */
export function isZstandard(bytes: Uint8Array): boolean {
  const isSkippable = (bytes[0]! & 0xf0) === 0x50 &&
    SKIPPABLE_MAGIC_END.every((byte, i) => bytes[i + 1] === byte);
  return isSkippable || FRAME_MAGIC.every((byte, i) => bytes[i] === byte);
}

const PARAMETERS = { [zlib.constants.ZSTD_c_compressionLevel]: 1, [zlib.constants.ZSTD_c_checksumFlag]: 1 };

/** One frame with a checksum, as v0.6 writes. */
export function compress(bytes: Uint8Array): Uint8Array {
  return zlib.zstdCompressSync(bytes, { params: PARAMETERS });
}

/**
 * The content of all frames. Throws MalformedMessageError for anything but whole, sound frames, and when the content
 * would be larger than `maxBytes`: never more than that is held.
 */
export function decompress(bytes: Uint8Array, maxBytes = DEFAULT_MAX_BYTES): Uint8Array {
  const contents: Uint8Array[] = [];
  let sizeBytes = 0;
  for (const frame of splitFrames(bytes, maxBytes)) {
    const content = decompressFrame(frame, maxBytes - sizeBytes);
    sizeBytes += content.length;
    contents.push(content);
  }
  return contents.length === 1 ? contents[0]! : concat(contents, sizeBytes);
}

function decompressFrame(frame: Uint8Array, maxBytes: number): Uint8Array {
  try {
    // zlib refuses a bound of 0, and an empty frame may well be the last one.
    const content = zlib.zstdDecompressSync(frame, { maxOutputLength: Math.max(maxBytes, 1) });
    if (content.length <= maxBytes) return content;
  } catch (cause) {
    throw new MalformedMessageError(`the payload does not decompress within ${maxBytes} bytes`, { cause });
  }
  throw new MalformedMessageError(`the payload does not decompress within ${maxBytes} bytes`);
}

function concat(contents: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let at = 0;
  for (const content of contents) {
    bytes.set(content, at);
    at += content.length;
  }
  return bytes;
}
