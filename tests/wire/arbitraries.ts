/** Arbitrary values, rows and batches for the property tests; fast-check prints the seed of a failure. */
import fc from "fast-check";
import type { ChangeEvent, TableImage } from "../../src/wire/batch.ts";
import type { BatchBody, EnvelopeHead } from "../../src/wire/batch_codec.ts";
import { RawText, type Value } from "../../src/wire/value.ts";

const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n };
const EDGES = [
  0n,
  23n,
  24n,
  255n,
  256n,
  65_535n,
  65_536n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n + 1n,
];

/** Any string that has a UTF-8 form, U+0000, U+FEFF and U+FFFD at any place included. */
export const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.string({ maxLength: 300 }),
  fc.constantFrom("", "\0", "a\0b", "\uFEFF", "\uFEFFabc", "\uFFFD", "é".repeat(20_000), "x".repeat(66_000)),
);

export const bytes = fc.uint8Array({ maxLength: 300 });

export const value: fc.Arbitrary<Value> = fc.oneof(
  fc.constant(null),
  fc.bigInt(INT64),
  fc.constantFrom(
    ...EDGES,
    ...EDGES.map((edge) => -edge),
    ...EDGES.map((edge) => -1n - edge),
    INT64.min,
    INT64.max,
  ),
  fc.double({ noNaN: true }),
  fc.constantFrom(0, -0, 1, Infinity, -Infinity, 5e-324, 2 ** 53, 2 ** 63),
  text,
  bytes,
  bytes.map((raw) => new RawText(raw)),
);

export const body: fc.Arbitrary<BatchBody> = fc
  .uniqueArray(fc.option(fc.string({ unit: "binary", maxLength: 12 })), { minLength: 1, maxLength: 8 })
  .chain((columns) =>
    fc.tuple(fc.constant(columns), fc.shuffledSubarray(columns.map((_, i) => i), { minLength: 1 }))
  )
  .chain(([columns, key]) =>
    fc.record({
      table: text,
      columns: fc.constant(columns),
      key: fc.constant(key),
      uniqueSignature: fc.string(),
      events: fc.array(event(columns.length, key.length), { maxLength: 12 }),
      image: fc.option(image(key.length), { nil: undefined }),
    })
  )
  .map(({ image, ...body }) => image ? { ...body, image } : body);

function image(keyWidth: number): fc.Arbitrary<TableImage> {
  const notNull = value.filter((v) => v !== null);
  const end = fc.option(fc.array(notNull, { minLength: keyWidth, maxLength: keyWidth }));
  return fc.record({
    id: fc.maxSafeNat(),
    rows: fc.option(fc.maxSafeNat()),
    keyOrder: text,
    after: end,
    upTo: end,
  });
}

function event(rowWidth: number, keyWidth: number): fc.Arbitrary<ChangeEvent> {
  const row = fc.array(value, { minLength: rowWidth, maxLength: rowWidth });
  const key = fc.array(value, { minLength: keyWidth, maxLength: keyWidth });
  return fc.oneof(
    fc.record({ kind: fc.constant("upsert" as const), row }),
    fc.record({ kind: fc.constant("delete" as const), key }),
    fc.record({ kind: fc.constant("list" as const), key, rows: fc.array(row, { maxLength: 4 }) }),
  );
}

export const envelopeHead: fc.Arbitrary<EnvelopeHead> = fc
  .tuple(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.tuple(fc.maxSafeNat(), fc.maxSafeNat(), fc.maxSafeNat()),
  )
  .chain(([origin, [run, number, top]]) =>
    fc.integer({ min: 1, max: 65_536 }).chain((parts) =>
      fc.tuple(fc.nat(parts - 1), fc.boolean()).map(([part, isFollowed]) => ({
        origin,
        run,
        number,
        top,
        part,
        parts,
        ...(isFollowed ? { isFollowed } : {}),
      }))
    )
  );

/** The bytes with a few of them changed, put in, taken out or cut off. */
export function mutate(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const change = fc.record({
    kind: fc.constantFrom("set", "insert", "remove", "cut", "repeat"),
    place: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    byte: fc.oneof(
      fc.nat(255),
      fc.constantFrom(0x1b, 0x3b, 0x5b, 0x7f, 0x9b, 0x9f, 0xbb, 0xbf, 0xdb, 0xf9, 0xfb, 0xff),
    ),
  });
  return fc.tuple(valid, fc.array(change, { minLength: 1, maxLength: 4 })).map(([original, changes]) => {
    let mutated = [...original];
    for (const { kind, place, byte } of changes) {
      const at = Math.floor(place * mutated.length);
      if (kind === "set") mutated[at] = byte;
      if (kind === "insert") mutated.splice(at, 0, byte);
      if (kind === "remove") mutated.splice(at, 1);
      if (kind === "cut") mutated = mutated.slice(0, at);
      if (kind === "repeat") mutated.splice(at, 0, ...mutated.slice(at, at + 20));
    }
    return new Uint8Array(mutated);
  });
}
