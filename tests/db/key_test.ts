import assert from "node:assert/strict";
import { Connection } from "../../src/db/connection.ts";
import { hasNull, keyIdentity } from "../../src/db/schema/key.ts";
import { decodeText } from "../../src/db/rows/exact_select.ts";
import { RawText, type Value } from "../../src/wire/value.ts";

const raw = (hex: string) =>
  new RawText(Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16)));

/** Values that could be mixed up. */
const VALUES: readonly Value[] = [
  0n,
  0,
  -0,
  1n,
  1,
  -1n,
  1.5,
  2147483647n,
  2147483647,
  2147483648n,
  2147483648,
  9007199254740993n,
  9007199254740992,
  9223372036854775807n,
  9223372036854775808,
  1e308,
  Infinity,
  -Infinity,
  "",
  "1",
  "a",
  "A",
  "a ",
  "a  ",
  "ä",
  "Ä",
  "a\0b",
  "a\0B",
  "a\0c",
  "i1",
  raw("ff"),
  raw("ff20"),
  raw("41ff"),
  raw("61ff"),
  new Uint8Array(),
  new TextEncoder().encode("1"),
  new TextEncoder().encode("a"),
  new TextEncoder().encode("A"),
];

for (const collation of ["BINARY", "NOCASE", "RTRIM"]) {
  Deno.test(`key identities are equal exactly where SQLite finds the keys equal, under ${collation}`, () => {
    const connection = new Connection(":memory:");
    try {
      connection.exec(`CREATE TABLE k (v COLLATE ${collation})`);
      for (const a of VALUES) {
        for (const b of VALUES) {
          const terms = [a, b].map((value) => value instanceof RawText ? "CAST(? AS TEXT)" : "?");
          const isEqual =
            connection.statement(`SELECT ${terms[0]} = ${terms[1]} COLLATE ${collation}`).get([a, b])?.[0] ===
              1n;
          const identities = [a, b].map((value) => keyIdentity([value], [collation]));
          assert.equal(identities[0] === identities[1], isEqual, `${String(a)} and ${String(b)}`);
        }
      }
    } finally {
      connection.close();
    }
  });
}

Deno.test("composite key identities do not run into each other", () => {
  const identity = (...key: Value[]) => keyIdentity(key, key.map(() => "BINARY"));
  assert.notEqual(identity("a", "bc"), identity("ab", "c"));
  assert.notEqual(identity("1:t", ""), identity("", "1:t"));
  assert.notEqual(identity(1n, "1"), identity("1", 1n));
  assert.notEqual(identity(null, "n"), identity("n", null));
  assert.equal(identity(1n, 2), identity(1, 2n));
});

Deno.test("a key has NULL if any of its columns has", () => {
  assert.equal(hasNull([1n, null]), true);
  assert.equal(hasNull([0n, "", new Uint8Array()]), false);
});

Deno.test("text is decoded strictly", () => {
  assert.equal(decodeText(new TextEncoder().encode("\uFEFFé")), "\uFEFFé");
  assert.deepEqual(decodeText(Uint8Array.of(0xff)), raw("ff"));
});
