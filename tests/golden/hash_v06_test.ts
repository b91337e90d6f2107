/** The original v0.6's row hashes, every one of them. */
import assert from "node:assert/strict";
import { shardOfHash } from "../../src/wire/routing.ts";
import { encodeRowHashInput, type KeyColumn, rowHash } from "../../src/wire/row_hash.ts";
import { readVectors, toHex, toValue } from "./vectors.ts";

interface HashVector {
  note: string;
  tableName: string;
  keyColumns: [name: string, kind: string, value: unknown][];
  hashInputHex: string;
  hashDecimal: string;
  shardOf: Record<string, number>;
}

const vectors = readVectors<HashVector[]>("hash_v06.json");

Deno.test("a row's hash, the bytes it is made of and its shards are those of v0.6", () => {
  assert.equal(vectors.length, 69);
  for (const vector of vectors) {
    const key = toKey(vector);
    assert.equal(toHex(encodeRowHashInput(vector.tableName, key)), vector.hashInputHex, vector.note);
    const hash = rowHash(vector.tableName, key);
    assert.equal(String(hash), vector.hashDecimal, vector.note);
    for (const [shards, shard] of Object.entries(vector.shardOf)) {
      assert.equal(shardOfHash(hash, Number(shards)), shard, vector.note);
    }
  }
});

Deno.test("the order in which key columns are given does not change the hash", () => {
  const composite = vectors.filter(({ keyColumns }) => keyColumns.length > 1);
  assert.ok(composite.length > 5);
  for (const vector of composite) {
    assert.equal(String(rowHash(vector.tableName, toKey(vector).reverse())), vector.hashDecimal, vector.note);
  }
});

function toKey({ keyColumns }: HashVector): KeyColumn[] {
  return keyColumns.map(([name, kind, value]) => [name, toValue([kind, value])]);
}
