import assert from "node:assert/strict";
import fc from "fast-check";
import { MarmotError } from "../../src/errors.ts";
import { decodeSeqMap, encodeSeqMap } from "../../src/wire/seq_map.ts";
import * as arbitrary from "./arbitraries.ts";

Deno.test("a seq map decodes to the sequences it was made of", () => {
  fc.assert(fc.property(fc.array(fc.tuple(arbitrary.text, fc.maxSafeNat())), (pairs) => {
    assert.deepEqual(decodeSeqMap(encodeSeqMap(new Map(pairs))), new Map(pairs));
  }));
});

Deno.test("a sequence that is no sequence is not written", () => {
  for (const sequence of [-1, 0.5, NaN, 2 ** 53]) {
    assert.throws(() => encodeSeqMap(new Map([["s", sequence]])), MarmotError);
  }
});
