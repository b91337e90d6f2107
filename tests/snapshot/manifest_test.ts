import fc from "fast-check";
import assert from "node:assert/strict";
import { MarmotError } from "../../src/errors.ts";
import {
  decodeManifest,
  EMPTY_MANIFEST,
  encodeManifest,
  type Manifest,
  manifestWith,
  removableObjects,
  type SnapshotEntry,
  snapshotObjectName,
} from "../../src/snapshot/manifest.ts";
import { isObjectName, type ObjectInfo } from "../../src/snapshot/snapshot_store.ts";

const HOUR_MS = 3_600_000;

function entry(number: number, changes: Partial<SnapshotEntry> = {}): SnapshotEntry {
  return {
    object: snapshotObjectName({ createdAtMs: number, nodeId: 7n, random: "abc" }),
    objectBytes: number,
    objectSha256: "a".repeat(64),
    compression: "zstd",
    databaseBytes: 4096,
    databaseSha256: "b".repeat(64),
    createdAtMs: 1_800_000_000_000,
    nodeId: 2n ** 64n - 1n,
    headers: { cursors: "1=5 2=0", "ü": "\u0000\n" },
    ...changes,
  };
}

function stored(entries: readonly SnapshotEntry[], hours = 0): ObjectInfo[] {
  return entries.map(({ object, objectBytes }) => at(object, hours, objectBytes));
}

function at(name: string, hours: number, sizeBytes = 1): ObjectInfo {
  return { name, sizeBytes, modifiedAt: new Date(hours * HOUR_MS) };
}

Deno.test("a manifest comes back as it was written", () => {
  const manifest: Manifest = { snapshots: [entry(2), entry(1, { compression: "none", headers: {} })] };
  assert.deepEqual(decodeManifest(encodeManifest(manifest)), manifest);
  assert.deepEqual(decodeManifest(encodeManifest(EMPTY_MANIFEST)), EMPTY_MANIFEST);
});

Deno.test("a header called __proto__ is a header", () => {
  const headers = JSON.parse('{"__proto__": "x"}');
  const [decoded] = decodeManifest(encodeManifest({ snapshots: [entry(1, { headers })] })).snapshots;
  assert.deepEqual(Object.entries(decoded!.headers), [["__proto__", "x"]]);
});

Deno.test("the names of snapshots are names that every store takes", () => {
  const name = snapshotObjectName({ createdAtMs: 1, nodeId: 2n ** 64n - 1n, random: "0123456789abcdef" });
  assert.ok(isObjectName(name), name);
});

Deno.test("a manifest that is damaged, hostile or of a later format is refused in one sentence", () => {
  const valid = () => JSON.parse(new TextDecoder().decode(encodeManifest({ snapshots: [entry(1)] })));
  const changed = (change: (snapshot: Record<string, unknown>) => void) => {
    const json = valid();
    change(json.snapshots[0]);
    return JSON.stringify(json);
  };
  const cases: [string | Uint8Array, RegExp][] = [
    ["", /not JSON/],
    [new Uint8Array([0xff, 0x7b]), /not JSON/],
    ["null", /not an object/],
    ["[]", /not an object/],
    ["{}", /format is not named/],
    [JSON.stringify({ ...valid(), format: "marmot-snapshots-2" }), /its format is "marmot-snapshots-2"/],
    [JSON.stringify({ ...valid(), snapshots: {} }), /does not hold up to/],
    [JSON.stringify({ ...valid(), snapshots: Array(65).fill(valid().snapshots[0]) }), /does not hold up to/],
    [JSON.stringify({ ...valid(), snapshots: [1] }), /not an object/],
    [JSON.stringify({ ...valid(), snapshots: Array(2).fill(valid().snapshots[0]) }), /names an object twice/],
    [changed((it) => it["object"] = "../etc/passwd"), /name of a snapshot's object/],
    [changed((it) => it["object"] = "manifest.json"), /name of a snapshot's object/],
    [changed((it) => it["object"] = 5), /name of a snapshot's object/],
    [changed((it) => it["objectBytes"] = -1), /objectBytes is not a whole number/],
    [changed((it) => it["databaseBytes"] = 1.5), /databaseBytes is not a whole number/],
    [changed((it) => it["createdAtMs"] = "1"), /createdAtMs is not a whole number/],
    [changed((it) => it["objectSha256"] = "A".repeat(64)), /objectSha256 is not a SHA-256/],
    [changed((it) => delete it["databaseSha256"]), /databaseSha256 is not a SHA-256/],
    [changed((it) => it["compression"] = "lzma"), /its compression is not known/],
    [changed((it) => it["nodeId"] = String(2n ** 64n)), /is not an id/],
    [changed((it) => it["headers"] = []), /headers are not an object/],
    [changed((it) => it["headers"] = { a: 1 }), /a header in it is not text/],
  ];
  for (const [bytes, pattern] of cases) {
    const input = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    assert.throws(() => decodeManifest(input), (error) => {
      assert.ok(error instanceof MarmotError && error.code === "snapshot");
      assert.match(error.message, pattern);
      return true;
    });
  }
});

Deno.test("whatever the bytes are, decoding gives a manifest or a MarmotError", () => {
  const valid = encodeManifest({ snapshots: [entry(2), entry(1)] });
  const damaged = fc.tuple(fc.nat(valid.length - 1), fc.uint8Array({ maxLength: 8 }))
    .map(([position, bytes]) => {
      const copy = valid.slice();
      copy.set(bytes.subarray(0, copy.length - position), position);
      return copy;
    });
  const json = fc.json().map((text) => new TextEncoder().encode(text));
  fc.assert(fc.property(fc.oneof(damaged, json, fc.uint8Array()), (bytes) => {
    try {
      const { snapshots } = decodeManifest(bytes);
      assert.ok(snapshots.every(({ object }) => isObjectName(object)));
    } catch (error) {
      assert.ok(error instanceof MarmotError);
    }
  }));
});

Deno.test("the new snapshot comes first, and the newest of those before stays if it is still whole", () => {
  const before = { snapshots: [entry(2), entry(1)] };
  const added = entry(3);
  const all = stored([entry(1), entry(2), added]);
  assert.deepEqual(manifestWith(before, { added, stored: all }).snapshots, [added, entry(2)]);
  assert.deepEqual(manifestWith(EMPTY_MANIFEST, { added, stored: all }).snapshots, [added]);
  const withoutSecond = stored([entry(1), added]);
  assert.deepEqual(manifestWith(before, { added, stored: withoutSecond }).snapshots, [added, entry(1)]);
  const truncated = [at(entry(2).object, 0, 1), ...stored([added])];
  assert.deepEqual(manifestWith(before, { added, stored: truncated }).snapshots, [added]);
});

Deno.test("what the manifest names and what is not ours is never removed", () => {
  const before = { snapshots: [entry(2), entry(1)] };
  const now = { snapshots: [entry(3), entry(2)] };
  const foreign = ["snapshot.db", "notes.txt", "snapshot-1-2-3.db.bak"].map((name) => at(name, -1000));
  const list = [...stored([entry(1), entry(2), entry(3)]), at("manifest.json", 0), ...foreign];
  const input = { before, now, stored: list, orphanAgeMs: 24 * HOUR_MS };
  assert.deepEqual(removableObjects(input), [entry(1).object]);
  // Another node has put it back meanwhile.
  assert.deepEqual(removableObjects({ ...input, now: { snapshots: [entry(3), entry(1)] } }), [
    entry(2).object,
  ]);
});

Deno.test("a snapshot that no manifest names is removed once it is old by the store's own clock", () => {
  const now = { snapshots: [entry(3)] };
  const list = [
    at("manifest.json", 100),
    ...stored([entry(3)], 0),
    ...stored([entry(1)], 75),
    ...stored([entry(2)], 77),
  ];
  const input = { before: EMPTY_MANIFEST, now, stored: list, orphanAgeMs: 24 * HOUR_MS };
  assert.deepEqual(removableObjects(input), [entry(1).object]);
  assert.deepEqual(removableObjects({ ...input, stored: list.slice(1) }), []);
});
