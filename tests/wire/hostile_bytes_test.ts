/** Whatever the bytes are: a decoder returns, or throws MalformedMessageError, and does either soon. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { MalformedMessageError } from "../../src/errors.ts";
import { decodeBody, decodeEnvelope, encodeBody, encodeEnvelope } from "../../src/wire/batch_codec.ts";
import { compress, decompress } from "../../src/wire/compression.ts";
import { decodeRowEvent, encodeRowEvent } from "../../src/wire/row_event_codec.ts";
import { decodeSeqMap, encodeSeqMap } from "../../src/wire/seq_map.ts";
import { RawText, type Value } from "../../src/wire/value.ts";
import * as arbitrary from "./arbitraries.ts";

const rowEvent = fc
  .record({
    origin: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    type: fc.constantFrom("insert" as const, "update" as const, "delete" as const),
    table: arbitrary.text,
    row: fc.array(fc.tuple(arbitrary.text, arbitrary.value), { maxLength: 6 }).map((row) => new Map(row)),
  })
  .filter(({ row }) => !row.values().some((value: Value) => value instanceof RawText));

interface Codec {
  name: string;
  decode: (bytes: Uint8Array) => unknown;
  valid: fc.Arbitrary<Uint8Array>;
  /** What stands before a value that may be anything. */
  beforeValue?: number[];
}

const codecs: Codec[] = [
  {
    name: "a body",
    decode: decodeBody,
    valid: arbitrary.body.map(encodeBody),
    beforeValue: [0x85, 0x61, 0x74, 0x81, 0x61, 0x61, 0x81, 0, 0x60, 0x81, 0x82, 0],
  },
  {
    name: "an envelope",
    decode: decodeEnvelope,
    valid: fc.tuple(arbitrary.envelopeHead, arbitrary.bytes).map(([head, body]) =>
      encodeEnvelope(head, body)
    ),
  },
  {
    name: "a row event",
    decode: decodeRowEvent,
    valid: rowEvent.map((event) => encodeRowEvent(event, 5n)),
    beforeValue: [0xa1, 0x61, 0x78],
  },
  {
    name: "a seq map",
    decode: decodeSeqMap,
    valid: fc.array(fc.tuple(fc.string(), fc.maxSafeNat())).map((pairs) => encodeSeqMap(new Map(pairs))),
  },
  {
    name: "a compressed payload",
    decode: (bytes) => decompress(bytes, 100_000),
    valid: fc.uint8Array({ maxLength: 2000 }).map(compress),
  },
];

for (const { name, decode, valid, beforeValue } of codecs) {
  Deno.test(`arbitrary bytes as ${name} throw nothing but MalformedMessageError`, () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => settle(decode, bytes)), {
      numRuns: 3000,
    });
  });

  Deno.test(`${name} that was damaged throws nothing but MalformedMessageError`, () => {
    fc.assert(fc.property(arbitrary.mutate(valid), (bytes) => settle(decode, bytes)), { numRuns: 1000 });
  });

  Deno.test(`${name} that was cut short is refused, wherever it was cut`, () => {
    fc.assert(
      fc.property(valid, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (bytes, share) => {
        const cut = bytes.subarray(0, Math.floor(share * bytes.length));
        if (name === "a seq map" && cut.length === 0) return; // v0.6's empty file
        assert.throws(() => decode(cut), MalformedMessageError);
      }),
      { numRuns: 300 },
    );
  });

  Deno.test(`deeply nested bytes in ${name} are refused before they exhaust the stack`, () => {
    for (const head of [0x81, 0x9f, 0xa1, 0xbf, 0xc1, 0xd9, 0x5f, 0x7f]) {
      const bytes = new Uint8Array(500_000).fill(head);
      bytes.set(beforeValue ?? []);
      assert.throws(() => decode(bytes), MalformedMessageError);
    }
  });
}

function settle(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): void {
  try {
    decode(bytes);
  } catch (error) {
    if (!(error instanceof MalformedMessageError)) throw error;
  }
}
