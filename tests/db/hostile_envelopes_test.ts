/** Envelopes that no node can have written, rows in parts that never end, and formats of a Marmot to come. */
import assert from "node:assert/strict";
import { MessageParts } from "../../src/db/apply/message_parts.ts";
import { encodeBody, encodeEnvelope, type EnvelopeHead } from "../../src/wire/batch_codec.ts";
import { OTHER_ID, OWN_ID, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
const STORED_AT = "2023-11-14T22:13:20.000000000Z";
const DAY_MS = 86_400_000;
const BOUNDS = { rows: 10, milliseconds: 1000 };

function armedWorld(): TestReplica {
  const world = new TestReplica(SCHEMA);
  world.arm();
  return world;
}

const storedMs = Date.parse(STORED_AT);
const countQuarantined = (world: TestReplica) =>
  world.rows("SELECT count(*) FROM __marmot__quarantine")[0]?.[0];

function envelope(head: Partial<EnvelopeHead>): Uint8Array {
  const body = encodeBody({
    table: "t",
    columns: ["id", "v"],
    key: [0],
    uniqueSignature: "",
    events: [upsert(1n, "x")],
  });
  return encodeEnvelope({ origin: OTHER_ID, run: 1, number: 1, top: 1, part: 0, parts: 1, ...head }, body);
}

Deno.test("a message of the own id with a run in the far future is put into quarantine, and stops no node", () => {
  using world = armedWorld();
  const message = {
    ...world.message("t", [upsert(1n, "x")]),
    storedAt: STORED_AT,
    payload: envelope({ origin: OWN_ID, run: storedMs + 11 * DAY_MS }),
  };
  assert.equal(world.replica.apply([message], BOUNDS)?.quarantined, 1);
  assert.ok(world.reopen().run < storedMs + DAY_MS, "nor is its run believed at the next start");
});

Deno.test("a run a little ahead of the broker's clock is believed, and one without a date to compare", () => {
  using world = armedWorld();
  const first = world.message("t", []);
  const second = world.message("t", []);
  const outcome = world.replica.apply([
    { ...first, storedAt: STORED_AT, payload: envelope({ run: storedMs + 9 * DAY_MS }) },
    { ...second, storedAt: "no date", payload: envelope({ run: storedMs + 90 * DAY_MS }) },
  ], BOUNDS);
  assert.deepEqual([outcome?.written, outcome?.quarantined], [2, 0]);
});

Deno.test("a message number that nobody reaches does not make the origin's next messages late", () => {
  using world = armedWorld();
  const hostile = { ...world.message("t", []), payload: envelope({ number: 2 ** 52 }) };
  const sound = { ...world.message("t", []), payload: envelope({ number: 2 }) };
  const outcome = world.replica.apply([hostile, sound], BOUNDS);
  assert.deepEqual([outcome?.quarantined, outcome?.written, outcome?.ignored], [1, 1, 0]);
});

Deno.test("a node whose own clock is far ahead of the broker's ends with a sentence", () => {
  using world = armedWorld();
  const { run } = world.replica;
  const message = {
    ...world.message("t", []),
    storedAt: new Date(run - 20 * DAY_MS).toISOString(),
    payload: envelope({ origin: OWN_ID, run }),
  };
  assert.throws(() => world.replica.apply([message], BOUNDS), { code: "identity", message: /ten days/ });
});

Deno.test("a message of a newer format is neither applied nor passed over, and what stands before it is applied", () => {
  using world = armedWorld();
  const first = world.message("t", [upsert(1n, "before")]);
  const newer = { ...world.message("t", []), format: "batch/2" };
  const outcome = world.replica.apply([first, newer], BOUNDS);
  assert.deepEqual([outcome?.messages, outcome?.newerFormat?.sequence], [1, 2]);
  assert.equal(world.replica.positions.get("s").cursor, 1);
  const again = world.replica.apply([newer], BOUNDS);
  assert.deepEqual([again?.messages, countQuarantined(world)], [0, 0]);
});

Deno.test("a format that is none of Marmot's is put into quarantine", () => {
  using world = armedWorld();
  for (const format of ["batch/0", "batch/1000", "batch/two", "image/2"]) {
    const message = { ...world.message("t", []), format };
    assert.equal(world.replica.apply([message], BOUNDS)?.quarantined, 1, format);
  }
});

Deno.test("unfinished rows in parts are bounded: the one that has waited longest makes room", () => {
  using world = armedWorld();
  const voided: string[] = [];
  const parts = new MessageParts(world.replica.connection, ({ origin }) => voided.push(origin), {
    bodyBytes: 250,
    bytes: 500,
    sets: 3,
  });
  const take = (origin: bigint, part: number, size: number, count = 4) =>
    parts.take("s", {
      origin,
      run: 1,
      number: 1 + part,
      top: 1,
      part,
      parts: count,
      body: new Uint8Array(size),
    });
  for (const origin of [1n, 2n, 3n]) take(origin, 0, 10);
  take(1n, 1, 10);
  take(4n, 0, 10);
  assert.deepEqual(voided, ["2"], "too many sets");
  take(3n, 1, 200);
  take(4n, 1, 200);
  take(1n, 2, 100);
  assert.deepEqual(voided, ["2", "3"], "too many bytes");
  assert.equal(take(1n, 3, 10)?.length, 130);
  assert.throws(() => take(4n, 2, 100), { name: "MalformedMessageError" });
  assert.deepEqual(world.rows("SELECT count(*) FROM __marmot__part"), [[0]]);
});

Deno.test("a message that is no part makes void what its origin has begun, and no other's", () => {
  using world = armedWorld();
  const apply = (sequence: number, head: Partial<EnvelopeHead>) =>
    world.replica.apply(
      [{ ...world.message("t", []), sequence, storedAt: STORED_AT, payload: envelope(head) }],
      BOUNDS,
    );
  apply(1, { parts: 2 });
  apply(2, { parts: 2, origin: 3n });
  apply(3, { number: 2 });
  assert.deepEqual(world.rows("SELECT origin FROM __marmot__part"), [["3"]]);
});
