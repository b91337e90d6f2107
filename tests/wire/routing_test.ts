import assert from "node:assert/strict";
import fc from "fast-check";
import { MarmotError } from "../../src/errors.ts";
import { Fnv1, fnv1 } from "../../src/wire/fnv.ts";
import { shardOfHash, shardOfTable, tableSubjectToken } from "../../src/wire/routing.ts";
import * as arbitrary from "./arbitraries.ts";

Deno.test("the hash is FNV-1 of 64 bits", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    let expected = 0xcbf29ce484222325n;
    for (const byte of bytes) expected = BigInt.asUintN(64, expected * 0x100000001b3n) ^ BigInt(byte);
    assert.equal(fnv1(bytes), expected);
  }));
});

Deno.test("a hash over pieces is the hash over the whole", () => {
  fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
    assert.equal(new Fnv1().update(a).update(b).digest(), fnv1(new Uint8Array([...a, ...b])));
  }));
});

Deno.test("a table's shard never changes", () => {
  // Reckoned apart from this code: a node that gets others publishes to the wrong stream.
  assert.deepEqual(["users", "Users", "żółć", ""].map((table) => shardOfTable(table, 8)), [8, 8, 3, 6]);
});

Deno.test("a shard is from 1 to the number of shards", () => {
  fc.assert(fc.property(arbitrary.text, fc.integer({ min: 1, max: 1000 }), (table, shards) => {
    const shard = shardOfTable(table, shards);
    assert.ok(Number.isInteger(shard) && shard >= 1 && shard <= shards);
  }));
  for (const shards of [0, -1, 1.5, NaN]) assert.throws(() => shardOfHash(5n, shards), MarmotError);
});

Deno.test("a table's name becomes one subject token", () => {
  assert.equal(tableSubjectToken("users_2-B"), "users_2-B");
  assert.equal(tableSubjectToken("a.b*c>d e%f\0"), "a%2Eb%2Ac%3Ed%20e%25f%00");
  assert.equal(tableSubjectToken("żó🦫"), "%C5%BC%C3%B3%F0%9F%A6%AB");
  assert.equal(tableSubjectToken(""), "%");
});

Deno.test("no two tables share a subject token, and each is legal", () => {
  fc.assert(fc.property(arbitrary.text, (table) => {
    const token = tableSubjectToken(table);
    assert.match(token, /^([A-Za-z0-9_%-])+$/);
    assert.equal(token === "%" ? "" : decodeURIComponent(token), table);
  }));
});

Deno.test("a name with a lone surrogate is refused", () => {
  assert.throws(() => tableSubjectToken("\uD800"), MarmotError);
  assert.throws(() => shardOfTable("\uD800", 8), MarmotError);
});
