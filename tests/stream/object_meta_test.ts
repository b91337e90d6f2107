import fc from "fast-check";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { encodeObjectMeta, type ObjectMeta, parseObjectMeta } from "../../src/stream/object_meta.ts";

const META: ObjectMeta = {
  ...{ name: "snapshot.db", bucket: "b", nuid: "uz2x6", headers: { tag: "f503" }, chunkBytes: 131_072 },
  ...{ sizeBytes: 36_864, chunks: 1, sha256: new Uint8Array(32).fill(7) },
};
const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const asJson = () => JSON.parse(new TextDecoder().decode(encodeObjectMeta(META)));

Deno.test("what is said of an object comes back, and the original's is understood", async () => {
  assert.deepEqual(parseObjectMeta(encodeObjectMeta(META)), META);
  const golden = new URL("../golden/snapshot_v06/snapshot_v06.json", import.meta.url);
  const { metaMessage } = JSON.parse(await readFile(golden, "utf8"));
  const meta = parseObjectMeta(new TextEncoder().encode(metaMessage.dataText));
  assert.ok(typeof meta === "object");
  assert.deepEqual([meta.name, meta.sizeBytes, meta.chunks], ["snapshot.db", 36_864, 1]);
  assert.deepEqual(meta.headers, { "marmot-snapshot-tag": "f503aed2df332783" });
});

Deno.test("a message that is no object's is refused, and a deleted object is told", () => {
  assert.equal(parseObjectMeta(encode({ ...asJson(), deleted: true })), "deleted");
  for (
    const changes of [
      { name: 1 },
      { bucket: null },
      { nuid: "a.b" },
      { nuid: "*" },
      { nuid: "" },
      { size: -1 },
      { size: "1" },
      { chunks: 0.5 },
      { digest: "MD5=abc" },
      { digest: "SHA-256=abc" },
      { digest: "SHA-256=!" },
      { options: { link: { bucket: "other" } } },
    ]
  ) {
    assert.equal(parseObjectMeta(encode({ ...asJson(), ...changes })), undefined, JSON.stringify(changes));
  }
  fc.assert(fc.property(fc.oneof(fc.uint8Array(), fc.json().map(encode)), (data) => {
    assert.equal(parseObjectMeta(data), undefined);
  }));
});
