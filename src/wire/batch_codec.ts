/**
 * Marmot's own format: a body holds change events of one table, an envelope carries a body, or a part of one, and says
 * whose it is. Both are CBOR arrays of fixed length:
 *
 *   envelope  [1, origin, run, number, top, part, parts, bytes of the body]
 *             and, where the next message of the origin belongs to the same transactions, a ninth item: 1
 *   body      [table, [column or null, …], [position of a key column, …], uniqueSignature, [event, …]]
 *             and, in a piece of a table image, a sixth item: [id, rows or null, keyOrder, key or null, key or null],
 *             and, of a table that was renamed, that sixth item or null, and a seventh: [former name, …]
 *   event     [0, value, …] an upsert · [1, key value, …] a deletion · [2, [key value, …], [[value, …], …]] a list
 *   value     null · integer (INTEGER) · double (REAL) · text (TEXT) · tag 21076 bytes (TEXT, not UTF-8) · bytes (BLOB)
 *
 * What encodes decodes to the same values, storage class and bytes included. Decoders throw MalformedMessageError and
 * nothing else, and allocate no more than a small multiple of the message.
 */
import { MalformedMessageError, MarmotError } from "../errors.ts";
import type { Batch, ChangeEvent, NodeId, TableImage } from "./batch.ts";
import { CborReader, INDEFINITE } from "./cbor_reader.ts";
import { CborWriter, Major, UINT64_MAX } from "./cbor_writer.ts";
import { RawText, type Value } from "./value.ts";
import { checkInt64 } from "./value_v06.ts";

/** The header that tells this format from v0.6's, which has none. A compatibility constant. */
export const FORMAT_HEADER = "Marmot-Format";
/** The value of `FORMAT_HEADER`. A compatibility constant. */
export const BATCH_FORMAT = "batch/1";

/** The most parts that one body can be cut into. */
export const MAX_PARTS = 65_536;

const VERSION = 1;
const ENVELOPE_LENGTH = 8;
/** Only streams of one shard hold such envelopes. A version that does not know them refuses them for their length. */
const FOLLOWED_LENGTH = 9;
/** An envelope's bytes without the body's, at most: nine numbers with their heads, and the head of the body. */
const HEAD_BYTES = 96;
const BODY_LENGTH = 5;
/** A version that knows no table images refuses it for its length. */
const IMAGE_BODY_LENGTH = 6;
/** The same of a version that knows no former names. */
const RENAMED_BODY_LENGTH = 7;
const IMAGE_LENGTH = 5;
const UPSERT = 0;
const DELETION = 1;
const LIST = 2;
/** Private to Marmot ("RT"). A compatibility constant. */
const RAW_TEXT_TAG = 0x5254;

/** What a batch says about its table: all of it but whose it is. */
export type BatchBody = Pick<
  Batch,
  "table" | "formerNames" | "columns" | "key" | "uniqueSignature" | "events" | "image"
>;

export interface EnvelopeHead {
  readonly origin: NodeId;
  readonly run: number;
  readonly number: number;
  readonly top: number;
  /** Which part of the body this is, from 0. */
  readonly part: number;
  /** How many parts the body has, 1 to `MAX_PARTS`. */
  readonly parts: number;
  /** Whether the origin's next message is to be applied in one transaction with this one. */
  readonly isFollowed?: boolean;
}

export interface Envelope extends EnvelopeHead {
  /** The body or its part; shares memory with the message. */
  readonly body: Uint8Array;
}

/**
 * `expectedBytes`: about as many does it have. Throws a MarmotError: "wire" for values that have no form (lone surrogates,
 * NaN), "internal" for a wrong shape.
 */
export function encodeBody(batch: BatchBody, expectedBytes = 0): Uint8Array<ArrayBuffer> {
  const { table, formerNames, columns, key, uniqueSignature, events, image } = batch;
  const problem = findShapeProblem(columns, key) ?? findNameProblem(table, formerNames);
  if (problem !== undefined) {
    throw new MarmotError("internal", `cannot encode a batch of table "${table}": ${problem}`);
  }
  const writer = new CborWriter(expectedBytes);
  writer.writeArray(formerNames ? RENAMED_BODY_LENGTH : image ? IMAGE_BODY_LENGTH : BODY_LENGTH);
  writer.writeText(table);
  writer.writeArray(columns.length);
  for (const column of columns) column === null ? writer.writeNull() : writer.writeText(column);
  writer.writeArray(key.length);
  for (const position of key) writer.writeCount(position);
  writer.writeText(uniqueSignature);
  writer.writeArray(events.length);
  const width = { row: columns.length, key: key.length };
  for (const event of events) writeEvent(writer, event, width);
  if (image) writeImage(writer, image, key.length);
  else if (formerNames) writer.writeNull();
  if (formerNames) {
    writer.writeArray(formerNames.length);
    for (const name of formerNames) writer.writeText(name);
  }
  return writer.toBytes();
}

function writeImage(
  writer: CborWriter,
  { id, rows, keyOrder, after, upTo }: TableImage,
  width: number,
): void {
  writer.writeArray(IMAGE_LENGTH);
  writer.writeCount(id);
  rows === null ? writer.writeNull() : writer.writeCount(rows);
  writer.writeText(keyOrder);
  for (const end of [after, upTo]) {
    if (end === null) writer.writeNull();
    else {
      if (end.includes(null)) {
        throw new MarmotError("internal", "cannot end a range at a key that holds NULL");
      }
      writer.writeArray(width);
      writeValues(writer, end, width);
    }
  }
}

interface Width {
  readonly row: number;
  readonly key: number;
}

function writeEvent(writer: CborWriter, event: ChangeEvent, width: Width): void {
  if (event.kind === "list") {
    writer.writeArray(3);
    writer.writeCount(LIST);
    writer.writeArray(width.key);
    writeValues(writer, event.key, width.key);
    writer.writeArray(event.rows.length);
    for (const row of event.rows) {
      writer.writeArray(width.row);
      writeValues(writer, row, width.row);
    }
    return;
  }
  const isUpsert = event.kind === "upsert";
  const valueCount = isUpsert ? width.row : width.key;
  writer.writeArray(1 + valueCount);
  writer.writeCount(isUpsert ? UPSERT : DELETION);
  writeValues(writer, isUpsert ? event.row : event.key, valueCount);
}

function writeValues(writer: CborWriter, values: readonly Value[], count: number): void {
  if (values.length !== count) {
    throw new MarmotError("internal", `cannot encode ${values.length} values where ${count} are due`);
  }
  for (let i = 0; i < count; i++) writeValue(writer, values[i]!);
}

function writeValue(writer: CborWriter, value: Value): void {
  if (value === null) writer.writeNull();
  else if (typeof value === "string") writer.writeText(value);
  else if (typeof value === "bigint") writer.writeInteger(checkInt64(value));
  else if (typeof value === "number") {
    if (Number.isNaN(value)) throw new MarmotError("wire", "cannot encode NaN: SQLite has no such REAL");
    writer.writeDouble(value);
  } else if (value instanceof RawText) {
    writer.writeTag(RAW_TEXT_TAG);
    writer.writeBytes(value.bytes);
  } else writer.writeBytes(value);
}

export function encodeEnvelope(head: EnvelopeHead, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const problem = findHeadProblem(head);
  if (problem !== undefined) throw new MarmotError("internal", `cannot encode an envelope: ${problem}`);
  const writer = new CborWriter(HEAD_BYTES + body.length);
  writer.writeArray(head.isFollowed ? FOLLOWED_LENGTH : ENVELOPE_LENGTH);
  writer.writeCount(VERSION);
  writer.writeInteger(head.origin);
  writer.writeCount(head.run);
  writer.writeCount(head.number);
  writer.writeCount(head.top);
  writer.writeCount(head.part);
  writer.writeCount(head.parts);
  writer.writeBytes(body);
  if (head.isFollowed) writer.writeCount(1);
  return writer.toBytes();
}

export function decodeEnvelope(bytes: Uint8Array): Envelope {
  const reader = new CborReader(bytes);
  const length = reader.readArray("the envelope");
  const version = length > 0 ? reader.readCount("the format version") : 0;
  if (version !== VERSION) {
    throw new MalformedMessageError(`format version ${version} is not known`, {
      hint: "If another node runs a newer Marmot, upgrade this one.",
    });
  }
  const isFollowed = length === FOLLOWED_LENGTH;
  if (length !== ENVELOPE_LENGTH && !isFollowed) {
    throw new MalformedMessageError(`the envelope has ${length} items`);
  }
  const envelope = {
    origin: reader.readUnsigned("origin"),
    run: reader.readCount("run"),
    number: reader.readCount("number"),
    top: reader.readCount("top"),
    part: reader.readCount("part"),
    parts: reader.readCount("parts"),
    body: reader.readBytes("the body"),
    ...(isFollowed ? { isFollowed } : {}),
  };
  if (isFollowed && reader.readCount("whether it is followed") !== 1) {
    throw new MalformedMessageError("the envelope's ninth item is not 1");
  }
  const problem = findHeadProblem(envelope);
  if (problem !== undefined) throw new MalformedMessageError(problem);
  checkEnd(reader);
  return envelope;
}

function findHeadProblem({ origin, run, number, top, part, parts }: EnvelopeHead): string | undefined {
  if (origin < 0n || origin > UINT64_MAX) return `origin ${origin} does not fit in 64 bits`;
  for (const count of [run, number, top, part, parts]) {
    if (!Number.isSafeInteger(count) || count < 0) return `${count} is not an integer from 0 to 2^53 - 1`;
  }
  if (parts < 1 || parts > MAX_PARTS) return `${parts} parts, where 1 to ${MAX_PARTS} can be`;
  return part < parts ? undefined : `part ${part} of ${parts}`;
}

export function decodeBody(bytes: Uint8Array): BatchBody {
  const reader = new CborReader(bytes);
  const length = reader.readArray("the body");
  if (length < BODY_LENGTH || length > RENAMED_BODY_LENGTH) {
    throw new MalformedMessageError(`the body has ${length} items, where 5 to 7 can be`);
  }
  const table = reader.readText("the table's name");
  const columns = readColumns(reader);
  const key = readKey(reader);
  const problem = findShapeProblem(columns, key);
  if (problem !== undefined) throw new MalformedMessageError(problem);
  const uniqueSignature = reader.readText("the UNIQUE signature");
  const width = { row: columns.length, key: key.length };
  const events: ChangeEvent[] = new Array(reader.readArray("the list of events"));
  for (let i = 0; i < events.length; i++) events[i] = readEvent(reader, width);
  const isRenamed = length === RENAMED_BODY_LENGTH;
  const hasImage = length === IMAGE_BODY_LENGTH || (isRenamed && !skipNull(reader));
  const image = hasImage ? { image: readImage(reader, key.length) } : {};
  const former = isRenamed ? { formerNames: readFormerNames(reader, table) } : {};
  checkEnd(reader);
  return { table, ...former, columns, key, uniqueSignature, events, ...image };
}

function readFormerNames(reader: CborReader, table: string): string[] {
  const names: string[] = [];
  const count = reader.readArray("the former names");
  for (let i = 0; i < count; i++) names.push(reader.readText("a former name"));
  const problem = findNameProblem(table, names);
  if (problem !== undefined) throw new MalformedMessageError(problem);
  return names;
}

function findNameProblem(table: string, formerNames: Batch["formerNames"]): string | undefined {
  if (formerNames === undefined) return undefined;
  if (new Set(formerNames).size !== formerNames.length) return "a former name stands twice";
  return formerNames.includes(table) ? "a former name is the present one" : undefined;
}

function readImage(reader: CborReader, width: number): TableImage {
  const length = reader.readArray("the image");
  if (length !== IMAGE_LENGTH) throw new MalformedMessageError(`the image has ${length} items`);
  return {
    id: reader.readCount("the image's id"),
    rows: skipNull(reader) ? null : reader.readCount("the number of rows"),
    keyOrder: reader.readText("the order of keys"),
    after: readEnd(reader, width),
    upTo: readEnd(reader, width),
  };
}

function readEnd(reader: CborReader, width: number): Value[] | null {
  if (skipNull(reader)) return null;
  const key = readTuple(reader, "the end of a range", width);
  if (key.includes(null)) throw new MalformedMessageError("a range ends at a key that holds NULL");
  return key;
}

function skipNull(reader: CborReader): boolean {
  const isNull = reader.peek() === NULL;
  if (isNull) reader.skipByte();
  return isNull;
}

function readColumns(reader: CborReader): (string | null)[] {
  const columns: (string | null)[] = [];
  const count = reader.readArray("the list of columns");
  for (let i = 0; i < count; i++) {
    columns.push(skipNull(reader) ? null : reader.readText("a column's name"));
  }
  return columns;
}

function readKey(reader: CborReader): number[] {
  const key: number[] = [];
  const count = reader.readArray("the key");
  for (let i = 0; i < count; i++) key.push(reader.readCount("a key position"));
  return key;
}

function findShapeProblem(columns: Batch["columns"], key: Batch["key"]): string | undefined {
  if (columns.length === 0) return "there are no columns";
  if (new Set(columns).size !== columns.length) return "two columns have one name";
  if (key.length === 0) return "there is no key";
  if (new Set(key).size !== key.length) return "a column stands twice in the key";
  const outside = key.find((position) =>
    !Number.isInteger(position) || position < 0 || position >= columns.length
  );
  return outside === undefined ? undefined : `key position ${outside} of ${columns.length} columns`;
}

function readEvent(reader: CborReader, width: Width): ChangeEvent {
  const length = reader.readArray("an event");
  const kind = length > 0 ? reader.readCount("an event's kind") : -1;
  if (kind === UPSERT && length === 1 + width.row) {
    return { kind: "upsert", row: readValues(reader, width.row) };
  }
  if (kind === DELETION && length === 1 + width.key) {
    return { kind: "delete", key: readValues(reader, width.key) };
  }
  if (kind === LIST && length === 3) return readList(reader, width);
  throw new MalformedMessageError(`an event of kind ${kind} has ${length} items`);
}

function readList(reader: CborReader, width: Width): ChangeEvent {
  const key = readTuple(reader, "a list's key", width.key);
  const rows: Value[][] = new Array(reader.readArray("a list's rows"));
  for (let i = 0; i < rows.length; i++) rows[i] = readTuple(reader, "a row", width.row);
  return { kind: "list", key, rows };
}

function readTuple(reader: CborReader, what: string, count: number): Value[] {
  const length = reader.readArray(what);
  if (length !== count) {
    throw new MalformedMessageError(`${what} has ${length} values where ${count} are due`);
  }
  return readValues(reader, count);
}

function readValues(reader: CborReader, count: number): Value[] {
  const values: Value[] = new Array(count);
  for (let i = 0; i < count; i++) values[i] = readValue(reader);
  return values;
}

const NULL = 0xf6;
const NULL_INFORMATION = 22;
const DOUBLE_INFORMATION = 27;

function readValue(reader: CborReader): Value {
  const major = reader.readHead();
  if (major === Major.simple) {
    if (reader.information === NULL_INFORMATION) return null;
    const isReal = reader.information === DOUBLE_INFORMATION && !Number.isNaN(reader.float);
    if (isReal) return reader.float;
  } else if (reader.information !== INDEFINITE) {
    if (major === Major.unsigned && reader.isBelow63Bits) return reader.wideArgument;
    if (major === Major.negative && reader.isBelow63Bits) return -1n - reader.wideArgument;
    if (major === Major.text) return reader.takeText(reader.argument);
    // Copies: a value may outlive the message.
    if (major === Major.bytes) return reader.takeBytes(reader.argument).slice();
    if (major === Major.tag && reader.argument === RAW_TEXT_TAG) {
      return new RawText(reader.readBytes("TEXT that is not UTF-8").slice());
    }
  }
  throw new MalformedMessageError("a value is of none of SQLite's storage classes");
}

function checkEnd(reader: CborReader): void {
  if (reader.remaining > 0) throw new MalformedMessageError("bytes stand behind the end of the message");
}
