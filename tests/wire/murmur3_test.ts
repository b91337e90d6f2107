import assert from "node:assert/strict";
import { murmur3 } from "../../src/wire/murmur3.ts";

function hashBytes(bytes: Uint8Array, seed: number): Uint8Array {
  const lanes = new Uint32Array(4);
  murmur3(bytes, bytes.length, lanes, seed);
  const result = new DataView(new ArrayBuffer(16));
  for (const [i, lane] of lanes.entries()) result.setUint32(4 * i, lane, true);
  return new Uint8Array(result.buffer);
}

// Source: smhasher, KeysetTest.cpp, VerificationTest, and main.cpp for the expected value.
Deno.test("murmur3 gives the verification value of its authors over keys of 0 to 255 bytes", () => {
  const hashes = new Uint8Array(256 * 16);
  for (let i = 0; i < 256; i++) {
    const key = Uint8Array.from({ length: i }, (_, at) => at);
    hashes.set(hashBytes(key, 256 - i), 16 * i);
  }
  const verification = new DataView(hashBytes(hashes, 0).buffer).getUint32(0, true);
  assert.equal(verification.toString(16), "b3ece62a");
});

Deno.test("murmur3 looks at no byte behind the length it is told", () => {
  const [a, b] = [new Uint32Array(4), new Uint32Array(4)];
  murmur3(Uint8Array.of(1, 2, 3, 9, 9), 3, a);
  murmur3(Uint8Array.of(1, 2, 3), 3, b);
  assert.deepEqual(a, b);
});
