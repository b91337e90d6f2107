import assert from "node:assert/strict";
import { decode } from "cborg";
import fc from "fast-check";
import { MalformedMessageError, MarmotError } from "../../src/errors.ts";
import type { ChangeEvent, Upsert } from "../../src/wire/batch.ts";
import {
  type BatchBody,
  decodeBody,
  decodeEnvelope,
  encodeBody,
  encodeEnvelope,
  type EnvelopeHead,
} from "../../src/wire/batch_codec.ts";
import { CborWriter } from "../../src/wire/cbor_writer.ts";
import { isSameValue, RawText, type Value } from "../../src/wire/value.ts";
import * as arbitrary from "./arbitraries.ts";

const HEAD: EnvelopeHead = { origin: 7n, run: 1_760_000_000_000, number: 1, top: 42, part: 0, parts: 1 };

Deno.test("a body decodes to the batch it was made of, storage classes and bytes included", () => {
  fc.assert(
    fc.property(arbitrary.body, (body) => {
      const decoded = decodeBody(encodeBody(body));
      const rest = ({ image, ...of }: BatchBody) => ({
        ...of,
        image: { ...image, after: [], upTo: [] },
        events: [],
      });
      assert.deepEqual(rest(decoded), rest(body));
      assertSameEnd(decoded.image?.after, body.image?.after);
      assertSameEnd(decoded.image?.upTo, body.image?.upTo);
      assert.equal(decoded.events.length, body.events.length);
      body.events.forEach((event, i) => assertSameEvent(decoded.events[i]!, event));
    }),
    { numRuns: 500 },
  );
});

Deno.test("an envelope decodes to its head and its body", () => {
  fc.assert(fc.property(arbitrary.envelopeHead, arbitrary.bytes, (head, body) => {
    assert.deepEqual(decodeEnvelope(encodeEnvelope(head, body)), { ...head, body });
  }));
});

Deno.test("the format on the wire does not change", () => {
  const body = encodeBody({
    table: "t",
    columns: ["id", null],
    key: [0],
    uniqueSignature: "u",
    events: [
      { kind: "upsert", row: [1n, 1] },
      { kind: "delete", key: ["k"] },
      { kind: "list", key: [null], rows: [[new RawText(new Uint8Array([0xff])), new Uint8Array([1])]] },
    ],
  });
  assert.equal(
    hex(body),
    "85" + "6174" + "82626964f6" + "8100" + "6175" +
      "83" + "830001fb3ff0000000000000" + "8201616b" + "830281f68182d9525441ff4101",
  );
  assert.equal(
    hex(encodeEnvelope({ ...HEAD, run: 300 }, new Uint8Array([9]))),
    "880107" + "19012c" + "01182a00014109",
  );
  assert.ok(Array.isArray(decode(encodeEnvelope(HEAD, body))), "an independent decoder reads it");
});

Deno.test("a piece of a table image is a body with a sixth item, which a version without images refuses", () => {
  const image = { id: 3, rows: 500, keyOrder: "o", after: null, upTo: ["k"] };
  const body = { ...bodyOf(["k"]), image };
  assert.equal(hex(encodeBody(body)).slice(0, 2), "86");
  assert.ok(hex(encodeBody(body)).endsWith("85" + "03" + "1901f4" + "616f" + "f6" + "81616b"));
  const later = { ...body, image: { ...image, rows: null, after: ["k"], upTo: null } };
  assert.ok(hex(encodeBody(later)).endsWith("85" + "03" + "f6" + "616f" + "81616b" + "f6"));
  assert.deepEqual(decodeBody(encodeBody(later)).image, later.image);
  for (const end of [[null], []]) {
    assert.throws(() => encodeBody({ ...body, image: { ...image, after: end } }), hasCode("internal"));
  }
});

Deno.test("INTEGER and REAL of one number stay apart, and so do the zeros", () => {
  const values: Value[] = [
    1n,
    1,
    0,
    -0,
    0n,
    2n ** 53n + 1n,
    2 ** 53,
    -(2n ** 63n),
    2n ** 63n - 1n,
    Infinity,
    -Infinity,
  ];
  const decoded = decodeBody(encodeBody(bodyOf(values)));
  assert.deepEqual(decoded.events, [{ kind: "upsert", row: values }]);
});

Deno.test("a decoded BLOB does not share memory with the message", () => {
  const bytes = encodeBody(bodyOf([new Uint8Array([1, 2, 3]), new RawText(new Uint8Array([255]))]));
  const { row: [blob, rawText] } = decodeBody(bytes).events[0] as Upsert;
  bytes.fill(0);
  assert.deepEqual(blob, new Uint8Array([1, 2, 3]));
  assert.deepEqual(rawText, new RawText(new Uint8Array([255])));
});

Deno.test("what no node could read is not written", () => {
  const wrongShapes: BatchBody[] = [
    { ...bodyOf([1n]), columns: [] },
    { ...bodyOf([1n]), key: [] },
    { ...bodyOf([1n]), key: [1] },
    { ...bodyOf([1n]), key: [-1] },
    { ...bodyOf([1n]), key: [0, 0] },
    { ...bodyOf([1n, 2n]), columns: ["a", "a"] },
    { ...bodyOf([1n, 2n]), columns: ["a"] },
    { ...bodyOf([1n]), events: [{ kind: "delete", key: [] }] },
    { ...bodyOf([1n]), events: [{ kind: "list", key: [null], rows: [[]] }] },
  ];
  for (const body of wrongShapes) assert.throws(() => encodeBody(body), hasCode("internal"));
  for (const value of [NaN, 2n ** 63n, -(2n ** 63n) - 1n, "\uD800"]) {
    assert.throws(() => encodeBody(bodyOf([value])), hasCode("wire"));
  }
  const wrongHeads: Partial<EnvelopeHead>[] = [
    { origin: -1n },
    { origin: 2n ** 64n },
    { run: -1 },
    { number: 0.5 },
    { top: 2 ** 53 },
    { parts: 0 },
    { part: 1 },
    { parts: 65_537 },
  ];
  for (const head of wrongHeads) {
    assert.throws(() => encodeEnvelope({ ...HEAD, ...head }, new Uint8Array()), hasCode("internal"));
  }
});

Deno.test("a body of the wrong shape is refused", () => {
  const wrong: Record<string, string> = {
    "no body": "",
    "not an array": "a0",
    "four items": "84617481616181006075",
    "seven items": "876174816161810060800000",
    "a number for an image": "8661748161618100608000",
    "an image of four items": "86617481616181006080" + "840100606180",
    "a range that ends at NULL": "86617481616181006080" + "85010060" + "81f6" + "f6",
    "a range that ends at a wider key": "86617481616181006080" + "85010060" + "820101" + "f6",
    "indefinite array": "9f61748161618100" + "6080ff",
    "table is bytes": "8541748161618100" + "6080",
    "table is not UTF-8": "8561ff8161618100" + "6080",
    "no columns": "8561748081006080",
    "two columns of one name": "8561748261616161810060" + "80",
    "two rowid columns": "85617482f6f681006080",
    "no key": "856174816161806080",
    "key position out of range": "8561748161618101" + "6080",
    "key position negative": "8561748161618120" + "6080",
    "key position twice": "856174816161820000" + "6080",
    "key position of indefinite length": "856174816161811f" + "6080",
    "event without kind": body("8180"),
    "event of unknown kind": body("818203f6"),
    "upsert without its column": body("818100"),
    "upsert with a column too many": body("818300f6f6"),
    "deletion without its key": body("818101"),
    "list without rows": body("81820281f6"),
    "list with a short row": body("81830281f68180"),
    "list with a long key": body("81830282f6f680"),
    "events that are not there": body("8a"),
    "value true": body("818200f5"),
    "value undefined": body("818200f7"),
    "value NaN": body("818200fb7ff8000000000000"),
    "value half float": body("818200f93c00"),
    "value single float": body("818200fa3f800000"),
    "value array": body("81820080"),
    "value map": body("818200a0"),
    "value bignum": body("818200c24105"),
    "value other tag": body("818200d9525500"),
    "value raw text without bytes": body("818200d9525461ff"),
    "value 2^63": body("8182001b8000000000000000"),
    "value -2^63 - 1": body("8182003b8000000000000000"),
    "value indefinite text": body("8182007f6161ff"),
    "value break": body("818200ff"),
    "text longer than the message": body("8182007bffffffffffffffff"),
    "bytes longer than the message": body("8182005a7fffffff"),
    "something behind the end": body("80") + "00",
  };
  assert.equal(decodeBody(fromHex(body("818200f6"))).events.length, 1);
  for (const [name, bytes] of Object.entries(wrong)) {
    assert.throws(() => decodeBody(fromHex(bytes)), MalformedMessageError, name);
  }
});

Deno.test("an envelope with a field out of range is refused", () => {
  const fields: (bigint | Uint8Array)[] = [1n, 7n, 1n, 1n, 1n, 0n, 1n, new Uint8Array([1])];
  const wrong: [index: number, value: bigint | Uint8Array][] = [
    [0, 0n],
    [0, 2n],
    [0, -1n],
    [1, -1n],
    [2, -1n],
    [2, 2n ** 53n],
    [3, 2n ** 53n],
    [3, 2n ** 64n - 1n],
    [4, 2n ** 63n],
    [5, 1n],
    [5, -1n],
    [6, 0n],
    [6, 65_537n],
    [7, 1n],
    [3, new Uint8Array()],
  ];
  assert.equal(decodeEnvelope(envelope(fields)).origin, 7n);
  for (const [index, value] of wrong) {
    assert.throws(
      () => decodeEnvelope(envelope(fields.with(index, value))),
      MalformedMessageError,
      `item ${index}`,
    );
  }
  assert.equal(decodeEnvelope(envelope(fields)).isFollowed, undefined);
  assert.equal(decodeEnvelope(envelope([...fields, 1n])).isFollowed, true);
  for (const items of [[], fields.slice(0, 7), [...fields, 0n], [...fields, 2n], [...fields, 1n, 1n]]) {
    assert.throws(() => decodeEnvelope(envelope(items)), MalformedMessageError);
  }
  assert.throws(() => decodeEnvelope(new Uint8Array([...envelope(fields), 0])), MalformedMessageError);
});

Deno.test("an unknown version of the format says that a newer Marmot may have written it", () => {
  assert.throws(
    () => decodeEnvelope(envelope([2n, "future" as never])),
    (error) =>
      error instanceof MalformedMessageError && /version 2/.test(error.message) && error.hint !== undefined,
  );
});

/** A body of table t(a), keyed by a, with these events. */
function body(eventsHex: string): string {
  return "856174816161810060" + eventsHex;
}

function bodyOf(row: Value[]): BatchBody {
  const columns = row.map((_, i) => `c${i}`);
  return { table: "t", columns, key: [0], uniqueSignature: "", events: [{ kind: "upsert", row }] };
}

function envelope(items: readonly (bigint | Uint8Array)[]): Uint8Array {
  const writer = new CborWriter();
  writer.writeArray(items.length);
  for (const item of items) {
    if (typeof item === "bigint") writer.writeInteger(item);
    else if (typeof item === "string") writer.writeText(item);
    else writer.writeBytes(item);
  }
  return writer.toBytes();
}

function assertSameEvent(actual: ChangeEvent, expected: ChangeEvent): void {
  assert.equal(actual.kind, expected.kind);
  const values = (event: ChangeEvent) => {
    if (event.kind === "list") return [event.key, ...event.rows];
    return [event.kind === "upsert" ? event.row : event.key];
  };
  const actualTuples = values(actual);
  assert.deepEqual(actualTuples.map((tuple) => tuple.length), values(expected).map((tuple) => tuple.length));
  values(expected).forEach((tuple, i) => {
    tuple.forEach((value, j) => assert.ok(isSameValue(actualTuples[i]![j], value), `tuple ${i}, value ${j}`));
  });
}

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof MarmotError && error.code === code;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromHex(text: string): Uint8Array {
  return new Uint8Array((text.match(/../g) ?? []).map((pair) => parseInt(pair, 16)));
}

function assertSameEnd(actual: readonly Value[] | null | undefined, expected: typeof actual): void {
  assert.equal(actual?.length, expected?.length);
  actual?.forEach((value, i) => assert.ok(isSameValue(value, expected![i])));
}
