/**
 * A database file on its way to a store and back: compressed with Zstandard in frames of one size (RFC 8878 allows any
 * number of them, and so does every decoder), measured and hashed on both sides of the compression. Memory stays flat
 * whatever the size.
 */
import { createHash } from "node:crypto";
import { closeSync, createReadStream, fsyncSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import * as zlib from "node:zlib";
import { errorText, MarmotError } from "../errors.ts";
import { GarbageMeter } from "../runtime/memory.ts";
import { firstFrameEnd } from "../wire/zstandard_frames.ts";
import type { SnapshotEntry } from "./manifest.ts";

/** What is read, and what one frame holds, at a time. */
const CHUNK_BYTES = 1024 * 1024;
/** What a frame may hold: more than one ever does. */
const MAX_FRAME_BYTES = 8 * CHUNK_BYTES;
/** What zlib leaves behind for each byte that it gives: pieces, their sum, and our copy of it. */
const GARBAGE_PER_BYTE = 3;
const FRAME_OPTIONS: zlib.ZstdOptions = {
  params: {
    // The fastest: a snapshot is taken often, and the network is rarely slower than the next level.
    [zlib.constants.ZSTD_c_compressionLevel]: 1,
    [zlib.constants.ZSTD_c_checksumFlag]: 1,
  },
};

/** Size and sum of a snapshot's object, as the manifest has them. */
export type ObjectFacts = Pick<SnapshotEntry, "objectBytes" | "objectSha256" | "compression">;
/** Size and sum of the database in it. */
export type DatabaseFacts = Pick<SnapshotEntry, "databaseBytes" | "databaseSha256">;
export type PackedFacts = ObjectFacts & DatabaseFacts;

/** Bytes do not make the snapshot that was promised: they are of no use, and another snapshot may be. */
export class DamagedSnapshotError extends MarmotError {
  override readonly name = "DamagedSnapshotError";

  constructor(reason: string, options: { cause?: unknown } = {}) {
    super("snapshot", reason, options);
  }
}

export interface PackedFrame {
  readonly frame: Uint8Array<ArrayBuffer>;
  /** How much of the file it holds. */
  readonly contentBytes: number;
}

/** The frames of a file's object, in order. Compresses on this thread: for a Worker. */
export function* packFrames(path: string): Generator<PackedFrame, void, void> {
  const garbage = new GarbageMeter();
  for (const bytes of chunksOf(path)) {
    // A copy of its own, to be handed to another thread.
    const frame = new Uint8Array(zlib.zstdCompressSync(bytes, FRAME_OPTIONS));
    yield { frame, contentBytes: bytes.length };
    // Its context takes as much as the content.
    garbage.add(GARBAGE_PER_BYTE * frame.length + 2 * bytes.length);
  }
}

/** Makes frames an object for a store, and measures it. */
export class FilePacker {
  readonly #frames: Iterable<PackedFrame> | AsyncIterable<PackedFrame>;
  readonly #onBytes: (bytes: number) => void;
  readonly #object = new Sum();
  #fileBytes = 0;

  /** `onBytes` is told how many bytes of the file have become bytes of the object. */
  constructor(
    frames: Iterable<PackedFrame> | AsyncIterable<PackedFrame>,
    onBytes: (bytes: number) => void = () => {},
  ) {
    this.#frames = frames;
    this.#onBytes = onBytes;
  }

  /** The object; to be read once. */
  async *content(): AsyncGenerator<Uint8Array, void, void> {
    const garbage = new GarbageMeter();
    for await (const { frame, contentBytes } of this.#frames) {
      this.#object.add(frame);
      this.#fileBytes += contentBytes;
      this.#onBytes(this.#fileBytes);
      yield frame;
      garbage.add(frame.length);
    }
  }

  /** What the manifest says of the object, once all of it was read. */
  facts(): ObjectFacts & { readonly fileBytes: number } {
    const { bytes: objectBytes } = this.#object;
    const objectSha256 = this.#object.sha256();
    return { objectBytes, objectSha256, compression: "zstd", fileBytes: this.#fileBytes };
  }
}

/** Size and sum of a file. Blocks the thread until all of it is read: for a Worker. */
export function sumFile(path: string): DatabaseFacts {
  const sum = new Sum();
  for (const bytes of chunksOf(path)) sum.add(bytes);
  return { databaseBytes: sum.bytes, databaseSha256: sum.sha256() };
}

/**
 * Writes what an object holds to a file that does not exist, and syncs it. Throws DamagedSnapshotError where it is not
 * what the facts say; the file is gone then. Blocks the thread until it is done: for a Worker.
 */
export function unpackFile({ from, to, facts }: { from: string; to: string; facts: PackedFacts }): void {
  const sum = new Sum();
  const target = openSync(to, "wx", 0o600);
  try {
    for (const bytes of facts.compression === "zstd" ? unpackFrames(from) : chunksOf(from)) {
      sum.add(bytes);
      // What decompresses to more than was promised would fill the disk.
      if (sum.bytes > facts.databaseBytes) {
        throw new DamagedSnapshotError("it holds more than its manifest says");
      }
      writeAllSync(target, bytes);
    }
    if (sum.bytes !== facts.databaseBytes || sum.sha256() !== facts.databaseSha256) {
      throw new DamagedSnapshotError("its content is not the database of its manifest");
    }
    fsyncSync(target);
  } catch (error) {
    rmSync(to, { force: true });
    throw error;
  } finally {
    closeSync(target);
  }
}

/** What the frames of an object hold, in order. */
function* unpackFrames(path: string): Generator<Uint8Array, void, void> {
  const garbage = new GarbageMeter();
  for (const frame of framesOf(path)) {
    const bytes = unpackFrame(frame);
    yield bytes;
    garbage.add(GARBAGE_PER_BYTE * bytes.length);
  }
}

function unpackFrame(frame: Uint8Array): Uint8Array {
  try {
    // Deno throws what zlib finds in a broken frame past every handler unless it is called so.
    return zlib.zstdDecompressSync(frame, { maxOutputLength: MAX_FRAME_BYTES });
  } catch (error) {
    throw new DamagedSnapshotError(`it does not decompress: ${errorText(error)}`);
  }
}

function* framesOf(path: string): Generator<Uint8Array, void, void> {
  let rest: Uint8Array = new Uint8Array(0);
  for (const bytes of chunksOf(path)) {
    rest = joinBytes(rest, bytes);
    for (let end = frameEnd(rest); end !== undefined; end = frameEnd(rest)) {
      yield rest.subarray(0, end);
      rest = rest.subarray(end);
    }
    if (rest.length > 2 * MAX_FRAME_BYTES) throw new DamagedSnapshotError("its object has too large a frame");
  }
  if (rest.length > 0) throw new DamagedSnapshotError("its object ends in the middle of a frame");
}

function joinBytes(first: Uint8Array, second: Uint8Array): Uint8Array {
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}

function frameEnd(bytes: Uint8Array): number | undefined {
  if (bytes.length === 0) return undefined;
  try {
    return firstFrameEnd(bytes, MAX_FRAME_BYTES);
  } catch (error) {
    throw new DamagedSnapshotError(`it does not decompress: ${errorText(error)}`);
  }
}

/** What a file holds, piece by piece; each piece is good until the next one is asked for. */
function* chunksOf(path: string): Generator<Uint8Array, void, void> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  const file = openSync(path, "r");
  try {
    for (let length = readSync(file, chunk); length > 0; length = readSync(file, chunk)) {
      yield chunk.subarray(0, length);
    }
  } finally {
    closeSync(file);
  }
}

function writeAllSync(file: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += writeSync(file, bytes, written);
}

/** The bytes of a file, for a store. */
export async function* readFile(
  path: string,
  onBytes: (bytes: number) => void = () => {},
): AsyncGenerator<Uint8Array, void, void> {
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
    yield chunk;
    bytes += chunk.length;
    onBytes(bytes);
  }
}

/** Writes what a store gives to a file that does not exist, and returns its size and sum. */
export async function writeFile(
  path: string,
  content: ReadableStream<Uint8Array>,
  { onBytes, maxBytes = Infinity }: { onBytes?: (bytes: number) => void; maxBytes?: number } = {},
): Promise<{ bytes: number; sha256: string }> {
  const sum = new Sum();
  const garbage = new GarbageMeter();
  const file = await open(path, "wx", 0o600);
  try {
    for await (const bytes of content) {
      sum.add(bytes);
      if (sum.bytes > maxBytes) throw new DamagedSnapshotError("it is larger than its manifest says");
      for (let written = 0; written < bytes.length;) {
        written += (await file.write(bytes, written)).bytesWritten;
      }
      onBytes?.(sum.bytes);
      garbage.add(bytes.length);
    }
  } finally {
    await file.close();
  }
  return { bytes: sum.bytes, sha256: sum.sha256() };
}

/** Counts and hashes. */
class Sum {
  bytes = 0;
  readonly #hash = createHash("sha256");

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.bytes += bytes.length;
  }

  /** To be called once, at the end. */
  sha256(): string {
    return this.#hash.digest("hex");
  }
}
