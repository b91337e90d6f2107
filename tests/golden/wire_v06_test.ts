/** The bytes of the original v0.6's own messages: what it wrote we write, and read back. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { MalformedMessageError, MarmotError } from "../../src/errors.ts";
import { decompress, isZstandard } from "../../src/wire/compression.ts";
import { decodeRowEvent, encodeRowEvent } from "../../src/wire/row_event_codec.ts";
import { isSameValue, RawText, type Value } from "../../src/wire/value.ts";
import { rowHash } from "../../src/wire/row_hash.ts";
import { shardOfHash } from "../../src/wire/routing.ts";
import type { ValueV06 } from "../../src/wire/value_v06.ts";
import { fromHex, readVectors, toHex, toValue, type VectorPayload } from "./vectors.ts";

interface WireVector {
  name: string;
  fromNodeId: string;
  payload: VectorPayload;
  cborHex: string | null;
  cborSha256?: string;
  zstdHex: string;
}

const vectors = readVectors<WireVector[]>("wire_v06.json");

/** What we do not write although v0.6 does. */
const NOT_WRITTEN: Record<string, string> = {
  "row-nil":
    "a row of ours is never null; an empty one is written as v0.6 writes it, and neither can be applied",
  "text-not-utf8": "ends every v0.6 node that reads it",
  "captured TEXT CAST(x'61ff62' AS TEXT)": "ends every v0.6 node that reads it",
};

/** What v0.6's own decoder reads but nobody can apply; we refuse it when decoding. */
const NOT_READ: Record<string, string> = {
  "row-empty": "v0.6 fails on it with an SQL syntax error, seven times, then panics",
  "row-nil": "v0.6 fails on it with an SQL syntax error, seven times, then panics",
  "text-not-utf8": "v0.6 refuses it as well, then panics",
  "captured TEXT CAST(x'61ff62' AS TEXT)": "v0.6 refuses it as well, then panics",
};

Deno.test("a row event is written byte for byte as v0.6 writes it", () => {
  for (const vector of vectors) {
    if (vector.name in NOT_WRITTEN) continue;
    const bytes = encodeRowEvent(toEvent(vector), BigInt(vector.payload.id));
    if (vector.cborHex === null) assert.equal(sha256(bytes), vector.cborSha256, vector.name);
    else assert.equal(toHex(bytes), vector.cborHex, vector.name);
  }
});

Deno.test("TEXT that is not UTF-8 is refused instead of published as v0.6 does", () => {
  const notUtf8 = vectors.filter(({ payload }) => toRow(payload)?.values().some((v) => v instanceof RawText));
  assert.equal(notUtf8.length, 2);
  for (const vector of notUtf8) {
    assert.ok(vector.name in NOT_WRITTEN);
    assert.throws(
      () => encodeRowEvent(toEvent(vector)),
      (error) => error instanceof MarmotError && error.code === "wire" && error.hint !== undefined,
    );
  }
});

Deno.test("every message that v0.6 wrote decodes to its row, compressed or not", () => {
  for (const vector of vectors) {
    const bytes = decompress(fromHex(vector.zstdHex));
    assert.ok(isZstandard(fromHex(vector.zstdHex)), vector.name);
    if (vector.cborHex === null) assert.equal(sha256(bytes), vector.cborSha256, vector.name);
    else assert.equal(toHex(bytes), vector.cborHex, vector.name);
    assert.ok(!isZstandard(bytes), vector.name);
    if (vector.name in NOT_READ) {
      assert.throws(() => decodeRowEvent(bytes), MalformedMessageError, vector.name);
      continue;
    }
    const event = decodeRowEvent(bytes);
    assert.equal(event.origin, BigInt(vector.fromNodeId));
    assert.equal(event.type, vector.payload.type);
    assert.equal(event.table, vector.payload.tableName);
    assertSameRow(event.row, toRow(vector.payload)!, vector.name);
  }
});

interface StreamRun {
  compress: boolean;
  shards: number;
  messages: { subject: string; hashDecimal: string; dataHex: string }[];
}

/** The key columns of the recorded streams' tables, with v0.6's name for the rowid. */
const KEY_OF_TABLE: Record<string, string> = {
  users: "id",
  settings: "key",
  notes: "rowid",
  tokens: "token",
  measures: "id",
  uniq: "id",
};

Deno.test("every message of a recorded stream decodes and went to the shard that its row hash names", () => {
  for (const run of readVectors<StreamRun[]>("stream_v06.json")) {
    assert.ok(run.messages.length > 30);
    for (const message of run.messages) {
      const bytes = fromHex(message.dataHex);
      assert.equal(isZstandard(bytes), run.compress);
      const { table, row } = decodeRowEvent(run.compress ? decompress(bytes) : bytes);
      const key = KEY_OF_TABLE[table]!;
      const hash = rowHash(table, [[key, row.get(key)!]]);
      assert.equal(String(hash), message.hashDecimal);
      assert.equal(`marmot-change-log-${shardOfHash(hash, run.shards)}`, message.subject);
    }
  }
});

function toEvent({ fromNodeId, payload }: WireVector) {
  return { origin: BigInt(fromNodeId), type: payload.type, table: payload.tableName, row: toRow(payload)! };
}

function toRow({ row }: VectorPayload): Map<string, ValueV06> | null {
  return row && new Map(row.map(([column, kind, value]) => [column, toValue([kind, value])]));
}

/** Booleans and NaN are compared as SQLite stores them. */
function assertSameRow(
  actual: ReadonlyMap<string, Value>,
  expected: Map<string, ValueV06>,
  name: string,
): void {
  assert.deepEqual([...actual.keys()], [...expected.keys()], name);
  for (const [column, value] of expected) {
    let stored = typeof value === "boolean" ? BigInt(value) : value;
    if (Number.isNaN(stored)) stored = null;
    assert.ok(isSameValue(actual.get(column), stored), `${name}: column ${column}`);
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
