/**
 * The format of the original v0.6: one row per message, a CBOR map
 * `{"FromNodeId": origin, "Payload": {"Id": id, "Type": type, "TableName": table, "Row": {column: value}}}`.
 * All names and their order are compatibility constants (tests/golden/wire_v06.json, decode_v06.json).
 *
 * The decoder takes whatever v0.6 takes, and refuses what would make v0.6 panic or could never be applied.
 */
import { MalformedMessageError, MarmotError } from "../errors.ts";
import type { NodeId, RowEventV06 } from "./batch.ts";
import { readIntegerOrNull, readMap, readTextOrNull, readValue, skipItem, Unusable } from "./cbor_item.ts";
import { CborReader } from "./cbor_reader.ts";
import { CborWriter, INT64_MAX, INT64_MIN, Major, UINT64_MAX } from "./cbor_writer.ts";
import { RawText, type Value } from "./value.ts";
import { checkInt64, type ValueV06, writeValueV06 } from "./value_v06.ts";

/** An event to be written; its row may hold booleans, as v0.6 writes for columns declared BOOLEAN. */
export interface OutgoingRowEventV06 extends Omit<RowEventV06, "row"> {
  readonly row: ReadonlyMap<string, ValueV06>;
}

/**
 * The message of one event, its columns in the order of `event.row`. `id` is log text only: v0.6's readers ignore it.
 * Throws a MarmotError ("wire") for what this format has no form for: above all TEXT that is not UTF-8, which
 * v0.6 publishes all the same and which then ends every v0.6 node that reads it.
 */
export function encodeRowEvent(event: OutgoingRowEventV06, id = 0n): Uint8Array<ArrayBuffer> {
  if (event.origin < 0n || event.origin > UINT64_MAX) {
    throw new MarmotError(
      "internal",
      `cannot encode a row event of node ${event.origin}: it does not fit in 64 bits`,
    );
  }
  const writer = new CborWriter();
  writer.writeMap(2);
  writer.writeText("FromNodeId");
  writer.writeInteger(event.origin);
  writer.writeText("Payload");
  writer.writeMap(4);
  writer.writeText("Id");
  writer.writeInteger(checkInt64(id));
  writer.writeText("Type");
  writer.writeText(event.type);
  writer.writeText("TableName");
  writer.writeText(event.table);
  writer.writeText("Row");
  writer.writeMap(event.row.size);
  for (const [column, value] of event.row) {
    if (value instanceof RawText) throwNotUtf8(event.table, column);
    writer.writeText(column);
    writeValueV06(writer, value);
  }
  return writer.toBytes();
}

function throwNotUtf8(table: string, column: string): never {
  throw new MarmotError(
    "wire",
    `cannot write a row of table "${table}" in the v0.6 format: TEXT in column "${column}" is not UTF-8`,
    { hint: 'Repair the value, or use wire-format "batch" once no v0.6 node is left.' },
  );
}

/** The event in a message. Throws MalformedMessageError for bytes that can never be applied. */
export function decodeRowEvent(bytes: Uint8Array): RowEventV06 {
  const reader = new CborReader(bytes);
  let origin: NodeId = 0n;
  const payload: Payload = { type: "", table: "", row: undefined };
  let hasPayload = false;
  readStruct(reader, 1, {
    fromnodeid: () => origin = readRanged(reader, { what: "FromNodeId", min: 0n, max: UINT64_MAX }),
    payload: () => hasPayload = readPayload(reader, payload),
  });
  if (!hasPayload) throw new MalformedMessageError("the message has no payload");
  const { type, table, row } = payload;
  if (!isEventType(type)) throw new MalformedMessageError(`the type "${clip(type)}" is not known`);
  if (table === "") throw new MalformedMessageError("the message names no table");
  return { origin, type, table, row: checkRow(row) };
}

interface Payload {
  type: string;
  table: string;
  row: Map<string, Value | Unusable> | undefined;
}

function readPayload(reader: CborReader, payload: Payload): boolean {
  return readStruct(reader, 2, {
    id: () => readRanged(reader, { what: "Id", min: INT64_MIN, max: INT64_MAX }),
    type: () => payload.type = readTextOrNull(reader, "Type") ?? "",
    tablename: () => payload.table = readTextOrNull(reader, "TableName") ?? "",
    row: () => payload.row = readRow(reader),
  });
}

/**
 * Reads the map that begins here into fields (by lower-case name): names match in any case, the first of a field wins,
 * other names and integer keys are passed over. Returns false when null stands in place of the map.
 */
function readStruct(reader: CborReader, level: number, fields: Record<string, () => void>): boolean {
  const pending = new Map(Object.entries(fields));
  return readMap(reader, level, () => {
    const key = readFieldName(reader);
    const readField = pending.get(key);
    if (readField === undefined) return skipItem(reader, level + 1);
    pending.delete(key);
    readField();
  });
}

/** The key in ASCII lower case; "" for an integer key. */
function readFieldName(reader: CborReader): string {
  const major = reader.peek() & 0xe0;
  if (major === Major.text) {
    // Only ASCII folds: toLowerCase would also turn the Kelvin sign into k.
    return (readTextOrNull(reader, "a field name") ?? "").replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  }
  if (major !== Major.unsigned && major !== Major.negative) {
    throw new MalformedMessageError("a field name is neither text nor an integer");
  }
  readIntegerOrNull(reader, "a field name");
  return "";
}

const ROW_LEVEL = 3;

function readRow(reader: CborReader): Map<string, Value | Unusable> {
  const row = new Map<string, Value | Unusable>();
  readMap(reader, ROW_LEVEL, () => {
    const column = readTextOrNull(reader, "a column name");
    if (column === null) throw new MalformedMessageError("a column name is null");
    row.set(column, readValue(reader, ROW_LEVEL + 1));
  });
  return row;
}

function checkRow(row: Payload["row"]): Map<string, Value> {
  if (row === undefined || row.size === 0) throw new MalformedMessageError("the row has no columns");
  for (const [column, value] of row) {
    if (value instanceof Unusable) {
      throw new MalformedMessageError(
        `column "${clip(column)}" holds ${value.reason}, which SQLite cannot store`,
      );
    }
  }
  return row as Map<string, Value>;
}

function readRanged(
  reader: CborReader,
  { what, min, max }: { what: string; min: bigint; max: bigint },
): bigint {
  const value = readIntegerOrNull(reader, what) ?? 0n;
  if (value < min || value > max) throw new MalformedMessageError(`${what} is out of range: ${value}`);
  return value;
}

function isEventType(type: string): type is RowEventV06["type"] {
  return type === "insert" || type === "update" || type === "delete";
}

/** Names from a hostile message, short enough for a log line. */
function clip(text: string): string {
  return text.length > 64 ? `${text.slice(0, 64)}…` : text;
}
