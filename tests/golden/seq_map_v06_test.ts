/** Seq-map files of the original v0.6, and what it makes of others. */
import assert from "node:assert/strict";
import { MalformedMessageError } from "../../src/errors.ts";
import { decodeSeqMap, encodeSeqMap } from "../../src/wire/seq_map.ts";
import { fromHex, readVectors, toHex } from "./vectors.ts";

interface SeqMapVector {
  name: string;
  cborHex: string;
  streams?: Record<string, string>;
  readOnly?: true;
}

const vectors = readVectors<SeqMapVector[]>("seq_map_v06.json");

/** Read by v0.6, refused by us. */
const REFUSED_BY_US: Record<string, string> = {
  "custom-prefix-and-max": "a sequence above 2^53 - 1 is a number that no stream reaches",
};

/** Written by v0.6 in another way than by us. */
const WRITTEN_OTHERWISE: Record<string, string> = {
  "never-saved": "v0.6 makes an empty file before the first save; we write an empty map, or no file",
  "written-in-place-not-truncated": "v0.6 leaves the end of the old file behind; we replace the file",
};

Deno.test("a seq map that v0.6 reads is read as it reads it", () => {
  for (const { name, cborHex, streams } of vectors) {
    if (streams === undefined || name in REFUSED_BY_US) continue;
    const expected = new Map(Object.entries(streams).map(([stream, sequence]) => [stream, Number(sequence)]));
    assert.deepEqual(
      new Map([...decodeSeqMap(fromHex(cborHex))].sort()),
      new Map([...expected].sort()),
      name,
    );
  }
});

Deno.test("a seq map that v0.6 refuses, or that holds an impossible sequence, is refused", () => {
  for (const { name, cborHex, streams } of vectors) {
    if (streams !== undefined && !(name in REFUSED_BY_US)) continue;
    assert.throws(() => decodeSeqMap(fromHex(cborHex)), MalformedMessageError, name);
  }
});

Deno.test("a seq map is written byte for byte as v0.6 writes it, streams in the order given", () => {
  for (const { name, cborHex, readOnly } of vectors) {
    if (readOnly || name in REFUSED_BY_US || name in WRITTEN_OTHERWISE) continue;
    assert.equal(toHex(encodeSeqMap(decodeSeqMap(fromHex(cborHex)))), cborHex, name);
  }
});
