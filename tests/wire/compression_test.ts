import assert from "node:assert/strict";
import * as zlib from "node:zlib";
import fc from "fast-check";
import { MalformedMessageError } from "../../src/errors.ts";
import { compress, decompress, isZstandard } from "../../src/wire/compression.ts";

const HELLO = new TextEncoder().encode("hello");
const SKIPPABLE = new Uint8Array([0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);

Deno.test("whatever is compressed decompresses", () => {
  const anyBytes = fc.oneof(
    fc.uint8Array(),
    fc.uint8Array({ maxLength: 3000, size: "max" }),
    fc.nat(400_000).map((n) => new Uint8Array(n)),
  );
  fc.assert(fc.property(anyBytes, (bytes) => {
    const compressed = compress(bytes);
    assert.ok(isZstandard(compressed));
    assert.deepEqual(plain(decompress(compressed)), bytes);
  }));
});

Deno.test("all frames are read, skippable ones passed over", () => {
  const frame = compress(HELLO);
  const twice = new Uint8Array([...HELLO, ...HELLO]);
  assert.deepEqual(plain(decompress(join(frame, frame))), twice);
  assert.deepEqual(plain(decompress(join(SKIPPABLE, frame, SKIPPABLE, frame, SKIPPABLE))), twice);
  assert.deepEqual(plain(decompress(join(frame, compress(new Uint8Array())), HELLO.length)), HELLO);
  assert.deepEqual(plain(decompress(SKIPPABLE)), new Uint8Array());
});

Deno.test("content of the largest size allowed is read, one byte more is not", () => {
  const bytes = new Uint8Array(300_000).map((_, i) => i * i);
  const frames = join(compress(bytes), compress(bytes));
  assert.equal(decompress(compress(bytes), 300_000).length, 300_000);
  assert.equal(decompress(frames, 600_000).length, 600_000);
  assert.throws(() => decompress(compress(bytes), 299_999), MalformedMessageError);
  assert.throws(() => decompress(frames, 599_999), MalformedMessageError);
  assert.throws(
    () => decompress(join(compress(HELLO), compress(new Uint8Array(1))), 5),
    MalformedMessageError,
  );
});

Deno.test("a frame that declares or holds more than is allowed is refused", () => {
  const bomb = compress(new Uint8Array(100 * 1024 * 1024));
  assert.ok(bomb.length < 10_000);
  assert.throws(() => decompress(bomb), MalformedMessageError);
  assert.throws(() => decompress(bomb, 1000), MalformedMessageError);
  const declares4GiB = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0];
  const windowOf2TiB = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0];
  assert.throws(() => decompress(new Uint8Array(declares4GiB)), /decompresses to 4294967295 bytes/);
  assert.throws(() => decompress(new Uint8Array(windowOf2TiB)), /too large a window/);
});

Deno.test("many empty frames are refused, a few are read", () => {
  const empty = zlib.zstdCompressSync(new Uint8Array());
  assert.equal(decompress(join(...new Array(1000).fill(empty))).length, 0);
  assert.throws(() => decompress(join(...new Array(1025).fill(empty))), MalformedMessageError);
});

Deno.test("garbage, a cut frame, a wrong checksum and bytes behind the last frame are refused", () => {
  const frame = compress(HELLO);
  for (let length = 0; length < frame.length; length++) {
    assert.throws(() => decompress(frame.subarray(0, length)), MalformedMessageError, `cut at ${length}`);
    assert.throws(() => decompress(join(frame, frame.subarray(0, length || 1))), MalformedMessageError);
  }
  assert.throws(() => decompress(join(frame, HELLO)), MalformedMessageError);
  assert.throws(() => decompress(HELLO), MalformedMessageError);
  assert.throws(() => decompress(SKIPPABLE.subarray(0, 9)), MalformedMessageError);
  assert.throws(() => decompress(frame.with(frame.length - 1, frame.at(-1)! ^ 1)), MalformedMessageError);
});

Deno.test("the first bytes tell a compressed payload from a CBOR message", () => {
  assert.ok(isZstandard(SKIPPABLE));
  assert.ok(!isZstandard(new Uint8Array()));
  assert.ok(!isZstandard(new Uint8Array([0x28, 0xb5, 0x2f])));
  assert.ok(!isZstandard(new Uint8Array([0xa2, 0x6a, 0x46, 0x72])));
});

function join(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}
