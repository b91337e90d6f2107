/**
 * A database file on its way to a store and back: compressed with Zstandard as a stream, measured and hashed on both
 * sides of the compression. Memory stays flat whatever the size.
 */
import { createHash, type Hash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { open, rm } from "node:fs/promises";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as zlib from "node:zlib";
import { MarmotError } from "../errors.ts";
import type { SnapshotEntry } from "./manifest.ts";

const CHUNK_BYTES = 1024 * 1024;
/** The fastest: a snapshot is taken often, and the network is rarely slower than the next level. */
const LEVEL = 1;

/** Sizes and sums of a snapshot's object, as the manifest has them. */
export type PackedFacts = Pick<
  SnapshotEntry,
  "objectBytes" | "objectSha256" | "compression" | "databaseBytes" | "databaseSha256"
>;

/** Bytes do not make the snapshot that was promised: they are of no use, and another snapshot may be. */
export class DamagedSnapshotError extends MarmotError {
  override readonly name = "DamagedSnapshotError";

  constructor(reason: string, options: { cause?: unknown } = {}) {
    super("snapshot", reason, options);
  }
}

/** Compresses a file into another. `onBytes` is told how many bytes of the file were read. */
export async function packFile(
  { from, to, onBytes }: { from: string; to: string; onBytes?: (bytes: number) => void },
): Promise<PackedFacts> {
  const database = new Meter(onBytes);
  const object = new Meter();
  const compress = zlib.createZstdCompress({
    params: {
      [zlib.constants.ZSTD_c_compressionLevel]: LEVEL,
      [zlib.constants.ZSTD_c_checksumFlag]: 1,
    },
  });
  await pipeline(
    createReadStream(from, { highWaterMark: CHUNK_BYTES }),
    database.stream,
    compress,
    object.stream,
    createWriteStream(to, { flags: "wx", mode: 0o600, highWaterMark: CHUNK_BYTES }),
  );
  return {
    objectBytes: object.bytes,
    objectSha256: object.sha256(),
    compression: "zstd",
    databaseBytes: database.bytes,
    databaseSha256: database.sha256(),
  };
}

/**
 * Writes what an object holds to a file that does not exist, and syncs it. Throws DamagedSnapshotError where it is not
 * what the facts say; the file is gone then. Deno throws what zlib says of broken frames past every handler but
 * the Worker's own: this runs in one.
 */
export async function unpackFile(
  { from, to, facts }: { from: string; to: string; facts: PackedFacts },
): Promise<void> {
  const database = new Meter((bytes) => {
    // What decompresses to more than was promised would fill the disk.
    if (bytes > facts.databaseBytes) throw new DamagedSnapshotError("it holds more than its manifest says");
  });
  const target = createWriteStream(to, { flags: "wx", mode: 0o600, highWaterMark: CHUNK_BYTES });
  const source = createReadStream(from, { highWaterMark: CHUNK_BYTES });
  try {
    if (facts.compression === "zstd") {
      await pipeline(source, zlib.createZstdDecompress(), database.stream, target);
    } else await pipeline(source, database.stream, target);
    if (database.bytes !== facts.databaseBytes || database.sha256() !== facts.databaseSha256) {
      throw new DamagedSnapshotError("its content is not the database of its manifest");
    }
    await syncFile(to);
  } catch (error) {
    await rm(to, { force: true });
    throw error;
  }
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
  const meter = new Meter((bytes) => {
    if (bytes > maxBytes) throw new DamagedSnapshotError("it is larger than its manifest says");
    onBytes?.(bytes);
  });
  await pipeline(
    Readable.from(content),
    meter.stream,
    createWriteStream(path, { flags: "wx", mode: 0o600, highWaterMark: CHUNK_BYTES }),
  );
  return { bytes: meter.bytes, sha256: meter.sha256() };
}

/** Counts and hashes what goes through. */
class Meter {
  bytes = 0;
  readonly stream: Transform;
  readonly #hash: Hash = createHash("sha256");

  constructor(onBytes: (bytes: number) => void = () => {}) {
    this.stream = new Transform({
      highWaterMark: CHUNK_BYTES,
      transform: (chunk: Uint8Array, _encoding, done) => {
        this.bytes += chunk.length;
        this.#hash.update(chunk);
        try {
          onBytes(this.bytes);
        } catch (error) {
          return done(error as Error);
        }
        done(null, chunk);
      },
    });
  }

  sha256(): string {
    return this.#hash.digest("hex");
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
