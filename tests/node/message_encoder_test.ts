/** Changes as messages: bounded, in order, and nothing lost on the way to a reader. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ArmedTable } from "../../src/db/rows/armed_tables.ts";
import type { ChangeSet } from "../../src/db/capture/change_sets.ts";
import { Connection } from "../../src/db/connection.ts";
import { readSchema } from "../../src/db/schema/schema.ts";
import { type EncoderOptions, MessageEncoder, type OutgoingMessage } from "../../src/node/message_encoder.ts";
import type { ChangeEvent, RowEventV06 } from "../../src/wire/batch.ts";
import { decodeBody } from "../../src/wire/batch_codec.ts";
import { isZstandard } from "../../src/wire/compression.ts";
import { decodeMessage } from "../../src/wire/message.ts";
import { RawText, type Value } from "../../src/wire/value.ts";

const TOP = 77;

/** The only table of a schema, with events. */
function changes(schema: string, events: ChangeEvent[]): ChangeSet {
  const connection = new Connection(":memory:");
  connection.exec(schema);
  const table = readSchema(connection).tables[0]!;
  const columns = table.columns.map((column) => column.name);
  const memory = { columns, types: [], captureSignature: "", uniqueSignature: "" };
  const identity = {
    id: 1,
    name: table.name,
    isDropped: false,
    memory: { ...memory, renamedColumns: {}, droppedColumns: [], formerNames: [] },
  };
  connection.close();
  return { shard: 1, table: new ArmedTable(connection, table, identity), events };
}

interface Encoded {
  readonly messages: OutgoingMessage[];
  readonly refused: string[];
}

function encode(
  set: ChangeSet,
  { maxPayloadBytes = 1_000_000, ...options }: Partial<EncoderOptions & { maxPayloadBytes: number }> = {},
): Encoded {
  const encoder = new MessageEncoder({
    origin: 5n,
    run: 9,
    wireFormat: "batch",
    compress: false,
    ...options,
  });
  const refused: string[] = [];
  let number = 0;
  const messages = encoder.encode(set, TOP, {
    maxPayloadBytes,
    nextNumber: () => ++number,
    onRefused: (error) => refused.push(error.message),
  });
  assert.deepEqual(messages.map((message) => message.number), messages.map((_, i) => i + 1));
  for (const message of messages) {
    assert.equal(message.top, TOP);
    assert.ok(message.payload.length <= maxPayloadBytes, `${message.payload.length} of ${maxPayloadBytes}`);
  }
  return { messages, refused };
}

/** The events that a reader of our format gets, parts put together. */
function decode(messages: readonly OutgoingMessage[]): ChangeEvent[] {
  const events: ChangeEvent[] = [];
  let body: number[] = [];
  for (const { format, payload, table, events: count } of messages) {
    const message = decodeMessage(format, payload);
    assert.ok(message.kind === "batch");
    const { envelope } = message;
    assert.deepEqual([envelope.origin, envelope.run, envelope.top], [5n, 9, TOP]);
    body = [...body, ...envelope.body];
    if (envelope.part + 1 < envelope.parts) {
      assert.equal(count, 0);
      continue;
    }
    const decoded = decodeBody(Uint8Array.from(body));
    assert.equal(decoded.table, table);
    assert.equal(decoded.events.length, count);
    events.push(...decoded.events);
    body = [];
  }
  assert.deepEqual(body, []);
  return events;
}

function rowsOf(messages: readonly OutgoingMessage[]): RowEventV06[] {
  return messages.map(({ format, table, payload }) => {
    assert.deepEqual([format, table], [null, null]);
    const message = decodeMessage(format, payload);
    assert.ok(message.kind === "row");
    return message.event;
  });
}

const TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const row = (...values: Value[]): ChangeEvent => ({ kind: "upsert", row: values });

Deno.test("whatever the sizes, a reader gets the events in their order", () => {
  const value = fc.oneof(
    fc.string({ maxLength: 3000 }),
    fc.uint8Array({ maxLength: 3000 }),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constant(null),
  );
  const event = fc.oneof(
    fc.tuple(fc.nat(), value).map(([id, v]) => row(BigInt(id), v)),
    fc.nat().map((id): ChangeEvent => ({ kind: "delete", key: [BigInt(id)] })),
  );
  fc.assert(fc.property(
    fc.array(event, { minLength: 1, maxLength: 40 }),
    fc.integer({ min: 1100, max: 20_000 }),
    fc.boolean(),
    (events, maxPayloadBytes, compress) => {
      const { messages } = encode(changes(TABLE, events), { maxPayloadBytes, compress });
      assert.deepEqual(decode(messages), events);
    },
  ));
});

Deno.test("many small rows go in messages that apply in a short transaction each", () => {
  const events = Array.from({ length: 1201 }, (_, i) => row(BigInt(i), "x"));
  const { messages } = encode(changes(TABLE, events));
  assert.deepEqual(messages.map((message) => message.events), [500, 500, 201]);
  assert.deepEqual(decode(messages), events);
});

Deno.test("rows of a KiB go in messages of about a quarter of a MiB, in smaller ones where the server takes less", () => {
  const events = Array.from(
    { length: 1000 },
    (_, i) => row(BigInt(i), crypto.getRandomValues(new Uint8Array(1000))),
  );
  for (
    const [maxPayloadBytes, least, most] of [[1_000_000, 250_000, 264_000], [64_000, 60_000, 64_000]] as const
  ) {
    const { messages } = encode(changes(TABLE, events), { maxPayloadBytes });
    assert.deepEqual(decode(messages), events);
    for (const { payload } of messages.slice(0, -1)) {
      assert.ok(payload.length >= least && payload.length <= most, `${payload.length} bytes`);
    }
  }
});

Deno.test("a row that is larger than a message goes in parts, its neighbours beside it", () => {
  const events = [row(1n, "before"), row(2n, new Uint8Array(30_000).fill(7)), row(3n, "behind")];
  const { messages } = encode(changes(TABLE, events), { maxPayloadBytes: 10_000 });
  assert.ok(messages.length > 4);
  assert.deepEqual(decode(messages), events);
});

Deno.test("of our own format large messages are compressed, small ones and those that would grow are not", () => {
  const text = "order message broker replica change ".repeat(100);
  const packedSize = (value: Value, compress = false) => {
    const { messages } = encode(changes(TABLE, [row(1n, value)]), { compress });
    assert.deepEqual(decode(messages), [row(1n, value)]);
    assert.equal(messages.length, 1);
    const { payload } = messages[0]!;
    return { isPacked: isZstandard(payload), bytes: payload.length };
  };
  const large = packedSize(text);
  assert.ok(large.isPacked && large.bytes < text.length / 4, `${large.bytes} bytes`);
  assert.equal(packedSize(text.slice(0, 1000)).isPacked, false);
  assert.equal(packedSize(text.slice(0, 1000), true).isPacked, true);
  assert.equal(packedSize(crypto.getRandomValues(new Uint8Array(30_000))).isPacked, false);
});

Deno.test("in the original's format nothing is compressed without being told", () => {
  const set = changes(TABLE, [row(1n, "x".repeat(10_000))]);
  const isPacked = (compress: boolean) =>
    encode(set, { wireFormat: "v0.6", compress }).messages.map(({ payload }) => isZstandard(payload));
  assert.deepEqual(isPacked(false), [false]);
  assert.deepEqual(isPacked(true), [true]);
});

Deno.test("no changes make no message", () => {
  for (const wireFormat of ["batch", "v0.6"] as const) {
    assert.deepEqual(encode(changes(TABLE, []), { wireFormat }), { messages: [], refused: [] });
  }
});

Deno.test("in the original's format each row is a message, a deletion with its key alone", () => {
  const set = changes("CREATE TABLE pairs (b TEXT, v, a INTEGER, PRIMARY KEY (b, a))", [
    row("x", 1.5, 1n),
    { kind: "delete", key: ["y", 2n] },
  ]);
  for (const compress of [false, true]) {
    const { messages, refused } = encode(set, { wireFormat: "v0.6", compress });
    assert.deepEqual(rowsOf(messages), [
      {
        origin: 5n,
        type: "update",
        table: "pairs",
        row: new Map<string, Value>([["b", "x"], ["v", 1.5], ["a", 1n]]),
      },
      { origin: 5n, type: "delete", table: "pairs", row: new Map<string, Value>([["b", "y"], ["a", 2n]]) },
    ]);
    assert.deepEqual(refused, []);
  }
});

Deno.test("in the original's format a table without a key has the column rowid", () => {
  const { messages } = encode(changes("CREATE TABLE notes (title)", [row(4n, "first")]), {
    wireFormat: "v0.6",
  });
  assert.deepEqual([...rowsOf(messages)[0]!.row], [["rowid", 4n], ["title", "first"]]);
});

Deno.test("in the original's format the rows of a key with NULL are inserted one by one", () => {
  const set = changes("CREATE TABLE named (name TEXT PRIMARY KEY, v)", [
    { kind: "list", key: [null], rows: [[null, 1n], [null, 2n]] },
  ]);
  const rows = rowsOf(encode(set, { wireFormat: "v0.6" }).messages);
  assert.deepEqual(rows.map((event) => [event.type, event.row.get("v")]), [["insert", 1n], ["insert", 2n]]);
});

Deno.test("a row that the original's format cannot carry is refused alone", () => {
  const set = changes(TABLE, [
    row(1n, "good"),
    row(2n, new RawText(Uint8Array.of(0xc3, 0x28))),
    row(3n, new Uint8Array(5000)),
    row(4n, "good as well"),
  ]);
  const { messages, refused } = encode(set, { wireFormat: "v0.6", maxPayloadBytes: 4000 });
  assert.deepEqual(rowsOf(messages).map((event) => event.row.get("id")), [1n, 4n]);
  assert.equal(refused.length, 2);
  assert.match(refused[0] ?? "", /not UTF-8/);
  assert.match(refused[1] ?? "", /it takes \d+ bytes and is larger than a message, which holds 4000/);
});
