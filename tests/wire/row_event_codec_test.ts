import assert from "node:assert/strict";
import fc from "fast-check";
import { MalformedMessageError } from "../../src/errors.ts";
import { CborWriter } from "../../src/wire/cbor_writer.ts";
import { decodeRowEvent, encodeRowEvent } from "../../src/wire/row_event_codec.ts";
import { formatEpochTime, formatRfc3339Time } from "../../src/wire/time_v06.ts";
import { isSameValue, RawText, type Value } from "../../src/wire/value.ts";
import * as arbitrary from "./arbitraries.ts";

Deno.test("a row event decodes to what was encoded, storage classes and bytes included", () => {
  const storable = arbitrary.value.filter((value) => !(value instanceof RawText));
  fc.assert(
    fc.property(fc.array(fc.tuple(arbitrary.text, storable), { minLength: 1, maxLength: 8 }), (columns) => {
      const row = new Map(columns);
      const decoded = decodeRowEvent(
        encodeRowEvent({ origin: 2n ** 64n - 1n, type: "update", table: "t", row }),
      );
      assert.deepEqual([...decoded.row.keys()], [...row.keys()]);
      for (const [column, value] of row) assert.ok(isSameValue(decoded.row.get(column), value));
    }),
  );
});

Deno.test("the last of a duplicate column wins even when the first could not be stored", () => {
  const bytes = message((writer) => {
    writer.writeMap(2);
    writer.writeText("v");
    writer.writeArray(0);
    writer.writeText("v");
    writer.writeInteger(5n);
  });
  assert.deepEqual(decodeRowEvent(bytes).row, new Map<string, Value>([["v", 5n]]));
});

Deno.test("a column that holds what SQLite cannot store is refused by its name", () => {
  const bytes = message((writer) => {
    writer.writeMap(1);
    writer.writeText("tags");
    writer.writeArray(0);
  });
  assert.throws(() => decodeRowEvent(bytes), {
    name: "MalformedMessageError",
    message: 'column "tags" holds an array, which SQLite cannot store',
  });
});

Deno.test("an unknown field may nest to 32 levels and hold 131,072 elements, as with v0.6, and no more", () => {
  const valid = encodeRowEvent({ origin: 1n, type: "insert", table: "t", row: new Map([["id", 1n]]) });
  const withField = (item: number[]) => new Uint8Array([0xa3, 0x61, 0x78, ...item, ...valid.subarray(1)]);
  const arrays = (count: number) => withField([...new Array(count).fill(0x81), 0]);
  const elements = (count: number) => withField([0x9f, ...new Array(count).fill(0), 0xff]);
  assert.equal(decodeRowEvent(arrays(31)).table, "t"); // the message itself is the first level
  assert.throws(() => decodeRowEvent(arrays(32)), /deeper than 32 levels/);
  assert.equal(decodeRowEvent(elements(131_072)).table, "t");
  assert.throws(() => decodeRowEvent(elements(131_073)), /more than 131072 elements/);
});

Deno.test("a decoded BLOB does not share memory with the message", () => {
  const row = new Map([["v", new Uint8Array([1, 2, 3])]]);
  const bytes = encodeRowEvent({ origin: 1n, type: "insert", table: "t", row });
  const decoded = decodeRowEvent(bytes);
  bytes.fill(0);
  assert.deepEqual(decoded.row, row);
});

Deno.test("a time becomes the text that v0.6 stores, in its own zone", () => {
  assert.equal(formatRfc3339Time("2022-10-05T12:34:56Z"), "2022-10-05 12:34:56+00:00");
  assert.equal(formatRfc3339Time("2022-10-05T12:34:56.7890+02:00"), "2022-10-05 12:34:56.789+02:00");
  assert.equal(
    formatRfc3339Time("2020-02-29T00:00:00.0123456789-09:30"),
    "2020-02-29 00:00:00.012345678-09:30",
  );
  assert.equal(formatEpochTime(0), "1970-01-01 00:00:00+00:00");
  assert.equal(formatEpochTime(-0.5), "1969-12-31 23:59:59.5+00:00");
  assert.equal(formatEpochTime(253_402_300_799), "9999-12-31 23:59:59+00:00");
});

Deno.test("a time that does not exist is refused", () => {
  const texts = ["", "2022-10-05", "2022-10-05 12:34:56Z", "2022-02-30T00:00:00Z", "2022-13-01T00:00:00Z"];
  for (const text of [...texts, "2022-10-05T24:00:00Z", "2022-10-05T12:34:56+25:00", "2022-10-05T12:34:56"]) {
    assert.throws(() => formatRfc3339Time(text), MalformedMessageError, text);
  }
  for (const seconds of [NaN, Infinity, -Infinity, 1e300, 253_402_300_800, -62_167_219_201]) {
    assert.throws(() => formatEpochTime(seconds), MalformedMessageError, String(seconds));
  }
});

function message(writeRow: (writer: CborWriter) => void): Uint8Array {
  const writer = new CborWriter();
  writer.writeMap(1);
  writer.writeText("Payload");
  writer.writeMap(3);
  writer.writeText("Type");
  writer.writeText("insert");
  writer.writeText("TableName");
  writer.writeText("t");
  writer.writeText("Row");
  writeRow(writer);
  return writer.toBytes();
}
