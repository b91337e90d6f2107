/**
 * The original's seq-map file: one CBOR map {stream name: sequence}, a compatibility constant
 * (tests/golden/seq_map_v06.json). v0.6 overwrites the file in place and never cuts it, so bytes behind the map are
 * no error; its empty file is an empty map.
 */
import { MalformedMessageError, MarmotError } from "../errors.ts";
import { readIntegerOrNull, readMap, readTextOrNull } from "./cbor_item.ts";
import { CborReader } from "./cbor_reader.ts";
import { CborWriter } from "./cbor_writer.ts";

/** The file's bytes, streams in the order of the map. */
export function encodeSeqMap(sequences: ReadonlyMap<string, number>): Uint8Array<ArrayBuffer> {
  const writer = new CborWriter();
  writer.writeMap(sequences.size);
  for (const [stream, sequence] of sequences) {
    if (!Number.isSafeInteger(sequence) || sequence < 0) {
      throw new MarmotError("internal", `cannot encode sequence ${sequence} of stream "${stream}"`);
    }
    writer.writeText(stream);
    writer.writeCount(sequence);
  }
  return writer.toBytes();
}

/** The sequences by stream name. Throws MalformedMessageError, also for a sequence above 2^53 - 1. */
export function decodeSeqMap(bytes: Uint8Array): Map<string, number> {
  const sequences = new Map<string, number>();
  if (bytes.length === 0) return sequences;
  const reader = new CborReader(bytes);
  readMap(reader, 1, () => {
    const stream = readTextOrNull(reader, "a stream name");
    const sequence = readIntegerOrNull(reader, "a sequence") ?? 0n;
    if (stream === null) throw new MalformedMessageError("a stream name is null");
    if (sequence < 0n || sequence > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new MalformedMessageError(`a sequence is out of range: ${sequence}`);
    }
    sequences.set(stream, Number(sequence));
  });
  return sequences;
}
