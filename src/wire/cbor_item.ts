/**
 * Reads whole CBOR items as the original v0.6's decoder (fxamacker/cbor 2.4) does: definite and indefinite lengths,
 * simple values, tags, at most 32 levels and 131,072 elements. What is well-formed but no SQLite value comes back as
 * `Unusable`, because v0.6 only minds where such an item is used.
 *
 * `level` is the nesting level that an array or map standing here would have, 1 for the outermost.
 */
import { MalformedMessageError } from "../errors.ts";
import { type CborReader, INDEFINITE } from "./cbor_reader.ts";
import { INT64_MAX, INT64_MIN, Major } from "./cbor_writer.ts";
import { formatEpochTime, formatRfc3339Time } from "./time_v06.ts";
import type { Value } from "./value.ts";

/** A well-formed item that SQLite could not store; `reason` says what it is. */
export class Unusable {
  constructor(readonly reason: string) {}
}

const MAX_LEVELS = 32;
const MAX_ELEMENTS = 131_072;
const BREAK = 0xff;
const TAG_TIME_TEXT = 0;
const TAG_TIME_EPOCH = 1;
const TAG_SELF_DESCRIBED = 55_799;

/** Calls `readPair`, which must read a key and a value, for each pair of the map; returns false for null. */
export function readMap(reader: CborReader, level: number, readPair: () => void): boolean {
  const major = readUntaggedHead(reader);
  if (isNull(reader)) return false;
  if (major !== Major.map) throw new MalformedMessageError(`${describe(reader)} where a map is due`);
  forEachElement(reader, level, readPair);
  return true;
}

/** The text that begins here, or null. */
export function readTextOrNull(reader: CborReader, what: string): string | null {
  const major = readUntaggedHead(reader);
  if (isNull(reader)) return null;
  if (major !== Major.text) throw new MalformedMessageError(`${what} is ${describe(reader)}, not text`);
  return readTextChunks(reader);
}

/** The integer that begins here, -2^64 to 2^64 - 1, or null; a simple value counts as its number. */
export function readIntegerOrNull(reader: CborReader, what: string): bigint | null {
  const major = readUntaggedHead(reader);
  if (isNull(reader)) return null;
  if (major === Major.unsigned) return reader.wideArgument;
  if (major === Major.negative) return -1n - reader.wideArgument;
  const isNumber = major === Major.simple && (reader.information < 20 || reader.information === 24);
  if (!isNumber) throw new MalformedMessageError(`${what} is ${describe(reader)}, not an integer`);
  return toSimple(reader) as bigint;
}

/** The value that v0.6 would store for the item that begins here. */
export function readValue(reader: CborReader, level: number): Value | Unusable {
  switch (readUntaggedHead(reader)) {
    case Major.unsigned:
      return toInteger(reader.wideArgument);
    case Major.negative:
      return toInteger(-1n - reader.wideArgument);
    case Major.text:
      return readTextChunks(reader);
    case Major.bytes:
      return concat(readChunks(reader, (length) => reader.takeBytes(length)));
    case Major.simple:
      return toSimple(reader);
    case Major.tag:
      return readTagged(reader, level);
    default: {
      const reason = describe(reader);
      skipBody(reader, level);
      return new Unusable(reason);
    }
  }
}

/** Reads past the item that begins here; it must be well-formed, but its text need not be UTF-8. */
export function skipItem(reader: CborReader, level: number): void {
  reader.readHead();
  skipBody(reader, level);
}

/** Reads the rest of the item whose head was read last. */
function skipBody(reader: CborReader, level: number): void {
  const { major } = reader;
  if (major === Major.tag) {
    // Only a tag inside a tag is a level deeper.
    const isNested = (reader.peek() & 0xe0) === Major.tag;
    if (isNested) checkLevel(level + 1);
    return skipItem(reader, isNested ? level + 1 : level);
  }
  if (major === Major.text || major === Major.bytes) {
    readChunks(reader, (length) => reader.takeBytes(length));
  } else if (major === Major.array) {
    forEachElement(reader, level, () => skipItem(reader, level + 1));
  } else if (major === Major.map) {
    forEachElement(reader, level, () => {
      skipItem(reader, level + 1);
      skipItem(reader, level + 1);
    });
  } else if (major === Major.simple) toSimple(reader);
}

/** Calls `readElement` for each element (each pair of a map) of the array or map whose head was read last. */
function forEachElement(reader: CborReader, level: number, readElement: () => void): void {
  checkLevel(level);
  const isIndefinite = reader.information === INDEFINITE;
  const count = isIndefinite ? Infinity : reader.argument;
  if (!isIndefinite && count > MAX_ELEMENTS) throwTooMany();
  for (let i = 0; i < count; i++) {
    if (isIndefinite && reader.peek() === BREAK) return reader.skipByte();
    if (i === MAX_ELEMENTS) throwTooMany();
    readElement();
  }
}

/** The parts of the text or byte string whose head was read last; one part when its length is definite. */
function readChunks<T>(reader: CborReader, take: (length: number) => T): T[] {
  if (reader.information !== INDEFINITE) return [take(reader.argument)];
  const { major } = reader;
  const chunks: T[] = [];
  while (reader.peek() !== BREAK) {
    if (reader.readHead() !== major || reader.information === INDEFINITE) {
      throw new MalformedMessageError(`${describe(reader)} inside a string of indefinite length`);
    }
    chunks.push(take(reader.argument));
  }
  reader.skipByte();
  return chunks;
}

function readTextChunks(reader: CborReader): string {
  return readChunks(reader, (length) => reader.takeText(length)).join("");
}

function readTagged(reader: CborReader, level: number): Value | Unusable {
  const tag = reader.argument;
  if (tag === TAG_TIME_TEXT) return formatRfc3339Time(reader.readText("a time (tag 0)"));
  if (tag === TAG_TIME_EPOCH) return readEpochTime(reader);
  reader.readHead();
  skipBody(reader, level);
  return new Unusable(`an item with tag ${tag}`);
}

function readEpochTime(reader: CborReader): string {
  const major = reader.readHead();
  if (major === Major.unsigned) return formatEpochTime(Number(reader.wideArgument));
  if (major === Major.negative) return formatEpochTime(Number(-1n - reader.wideArgument));
  if (major === Major.simple && isFloat(reader)) return formatEpochTime(reader.float);
  throw new MalformedMessageError(`a time (tag 1) is ${describe(reader)}, not a number`);
}

/** The head of the next item behind any "this is CBOR" tags. */
function readUntaggedHead(reader: CborReader): number {
  for (let tags = 0; tags <= MAX_LEVELS; tags++) {
    const major = reader.readHead();
    if (major !== Major.tag || reader.argument !== TAG_SELF_DESCRIBED) return major;
  }
  throw new MalformedMessageError(`tags are nested deeper than ${MAX_LEVELS} levels`);
}

/** Simple values (RFC 8949, section 3.3) as v0.6 stores them: booleans and unassigned values as integers, NaN as NULL. */
function toSimple(reader: CborReader): Value {
  const { information } = reader;
  if (information === INDEFINITE) {
    throw new MalformedMessageError("a break where no indefinite length is open");
  }
  if (isFloat(reader)) return Number.isNaN(reader.float) ? null : reader.float;
  if (information === 24 && reader.argument < 32) throw new MalformedMessageError("an invalid simple value");
  if (information === 20 || information === 21) return information === 21 ? 1n : 0n;
  return isNull(reader) ? null : BigInt(reader.argument);
}

function isFloat(reader: CborReader): boolean {
  return reader.information >= 25 && reader.information <= 27;
}

/** Null and undefined are the same to v0.6. */
function isNull(reader: CborReader): boolean {
  return reader.major === Major.simple && (reader.information === 22 || reader.information === 23);
}

function toInteger(value: bigint): bigint | Unusable {
  return value >= INT64_MIN && value <= INT64_MAX ? value : new Unusable("an integer of more than 64 bits");
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function checkLevel(level: number): void {
  if (level > MAX_LEVELS) {
    throw new MalformedMessageError(`items are nested deeper than ${MAX_LEVELS} levels`);
  }
}

function throwTooMany(): never {
  throw new MalformedMessageError(`an array or map of more than ${MAX_ELEMENTS} elements`);
}

const NAME_OF_MAJOR = ["an integer", "a negative integer", "bytes", "text", "an array", "a map", "a tag"];

function describe(reader: CborReader): string {
  return NAME_OF_MAJOR[reader.major >> 5] ?? "a float, boolean or simple value";
}
