/** What the original v0.6's decoder makes of messages nobody should send, and what we make of them. */
import assert from "node:assert/strict";
import { MalformedMessageError } from "../../src/errors.ts";
import { decodeRowEvent } from "../../src/wire/row_event_codec.ts";
import { isSameValue, type Value } from "../../src/wire/value.ts";
import { fromHex, readVectors, toHex, toValue, type VectorPayload } from "./vectors.ts";

interface DecodeVector {
  name: string;
  hex: string;
  accepted: boolean;
  decoded: { fromNodeId: string; payload: VectorPayload | null } | null;
  apply: { error?: string; panic?: string; tableAfter: [id: string, type: string, quoted: string][] } | null;
}

const vectors = readVectors<DecodeVector[]>("decode_v06.json");

/** Decoded by v0.6, refused by us: nothing of it can ever be applied, whatever the schema. */
const REFUSED_BY_US: Record<string, string> = {
  "row with zero columns": "v0.6: SQL syntax error",
  "row null": "v0.6: SQL syntax error",
  "row absent": "v0.6: SQL syntax error",
  "unknown Type": "v0.6: invalid operation type",
  "Type in upper case": "v0.6: invalid operation type",
  "Type empty": "v0.6: invalid operation type",
  "Payload null": "v0.6 panics",
  "Payload absent": "v0.6 panics",
  "empty map": "v0.6 panics",
  "top level null": "v0.6 panics",
  "value uint 2^63 (does not fit SQLite)": "v0.6: unsupported value",
  "value negative -2^63-1": "v0.6: unsupported value",
  "value array": "v0.6: unsupported value",
  "value map": "v0.6: unsupported value",
  "value tag 2 bignum 2^64": "v0.6: unsupported value",
  "value tag 2 bignum 5": "v0.6: unsupported value",
  "value tag 24 embedded CBOR": "v0.6: unsupported value",
  "value tag 1000 of an integer": "v0.6: unsupported value",
};

/** Refused by v0.6 when applying, decoded by us: whether the local schema fits is not the codec's to say. */
const LEFT_TO_THE_SCHEMA = new Set([
  "unknown table",
  "unknown column in the row",
  "table name in other case",
]);

Deno.test("what v0.6 can decode and apply decodes to the values that it stores", () => {
  for (const vector of vectors) {
    if (!vector.accepted || vector.name in REFUSED_BY_US) continue;
    const expected = vector.decoded!;
    const event = decodeRowEvent(fromHex(vector.hex));
    assert.equal(event.origin, BigInt(expected.fromNodeId), vector.name);
    assert.equal(event.table, expected.payload!.tableName, vector.name);
    assert.equal(event.type, expected.payload!.type, vector.name);
    const columns = expected.payload!.row!;
    assert.deepEqual([...event.row.keys()].sort(), columns.map(([column]) => column).sort(), vector.name);
    for (const [column, kind, value, goType] of columns) {
      if (goType === "time.Time" || goType === "bool" || kind === "real") continue; // see the next test
      assert.ok(
        isSameValue(event.row.get(column), toValue([kind, value]) as Value),
        `${vector.name}: ${column}`,
      );
    }
  }
});

Deno.test("a decoded value is what v0.6's table holds after applying the message", () => {
  let compared = 0;
  for (const vector of vectors) {
    if (!vector.accepted || vector.name in REFUSED_BY_US || vector.apply?.error !== undefined) continue;
    const { type, row } = decodeRowEvent(fromHex(vector.hex));
    if (type === "delete" || row.get("id") !== 1n || !row.has("v")) continue;
    const stored = vector.apply!.tableAfter.find(([id]) => id === "1")!;
    assert.equal(quote(row.get("v")!), stored[2], vector.name);
    compared++;
  }
  assert.ok(compared > 30);
});

Deno.test("what v0.6 cannot decode is refused", () => {
  const refused = vectors.filter(({ accepted }) => !accepted);
  assert.ok(refused.length > 15);
  for (const { name, hex } of refused) {
    assert.throws(() => decodeRowEvent(fromHex(hex)), MalformedMessageError, name);
  }
});

Deno.test("what v0.6 decodes but can never apply is refused, and nothing else is", () => {
  for (const { name, hex, accepted, apply } of vectors) {
    if (name in REFUSED_BY_US) assert.throws(() => decodeRowEvent(fromHex(hex)), MalformedMessageError, name);
    if (!accepted || LEFT_TO_THE_SCHEMA.has(name)) continue;
    const isFatalToV06 = apply!.error !== undefined || apply!.panic !== undefined;
    assert.equal(name in REFUSED_BY_US, isFatalToV06, name);
  }
});

/** As SQLite's quote() does. */
function quote(value: Value): string {
  if (value === null) return "NULL";
  if (typeof value === "string") return `'${value}'`;
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return `X'${toHex(value).toUpperCase()}'`;
  assert.equal(typeof value, "number");
  if (value === Infinity) return "Inf";
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
