/**
 * Messages that no node of ours would publish, put into a real stream by hand: the node stays up, says so once, puts
 * the message on record, and applies the good message behind it.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import process from "node:process";
import type { ChangeEvent, RowEventV06 } from "../../src/wire/batch.ts";
import { BATCH_FORMAT, type BatchBody, encodeBody, encodeEnvelope } from "../../src/wire/batch_codec.ts";
import { CborWriter } from "../../src/wire/cbor_writer.ts";
import { compress } from "../../src/wire/compression.ts";
import { encodeRowEvent } from "../../src/wire/row_event_codec.ts";
import type { Value } from "../../src/wire/value.ts";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { HandPublisher } from "../support/hand_publisher.ts";

const SCHEMA = `
  CREATE TABLE good (id INTEGER PRIMARY KEY, v);
  CREATE TABLE target (id INTEGER PRIMARY KEY, v);
  CREATE TABLE strange (id INTEGER PRIMARY KEY, v);
  CREATE TABLE filled (id INTEGER PRIMARY KEY, v NOT NULL);
  CREATE TABLE positive (id INTEGER PRIMARY KEY, v CHECK (v > 0));
  CREATE TABLE exact (id INTEGER PRIMARY KEY, v INTEGER) STRICT;
  CREATE TABLE guarded (id INTEGER PRIMARY KEY, v);
  CREATE TRIGGER guard BEFORE INSERT ON guarded WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END;
  CREATE TABLE keyed (a TEXT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID`;
/** The stream that all of these go to: a node does not ask which stream a table belongs to. */
const SUBJECT = "marmot-change-log-1";
/** A node that is not in the cluster. */
const STRANGER = 99n;

type Fate =
  /** Put into quarantine, with this reason. */
  | { readonly quarantined: RegExp }
  /** Its table waits, with this reason. */
  | { readonly parked: string; readonly reason: RegExp }
  /** Taken like any other: `table` then holds these rows. */
  | { readonly applied: string; readonly rows: readonly (readonly unknown[])[] }
  /** No trace. */
  | "ignored";

interface HostileCase {
  readonly name: string;
  readonly payload: Uint8Array;
  readonly format?: string;
  readonly fate: Fate;
}

let number = 0;

function row(table: string, values: Record<string, Value>, type: RowEventV06["type"] = "insert"): Uint8Array {
  return encodeRowEvent({ origin: STRANGER, type, table, row: new Map(Object.entries(values)) });
}

function envelope(body: Uint8Array, head: Partial<Parameters<typeof encodeEnvelope>[0]> = {}): Uint8Array {
  return encodeEnvelope(
    { origin: STRANGER, run: 1, number: ++number, top: 1, part: 0, parts: 1, ...head },
    body,
  );
}

function batch(table: string, events: readonly ChangeEvent[], over: Partial<BatchBody> = {}): Uint8Array {
  return envelope(
    encodeBody({ table, columns: ["id", "v"], key: [0], uniqueSignature: "", events, ...over }),
  );
}

/** A body whose one event has another number of values than there are columns; the encoder refuses to write it. */
function bodyOfWidth(count: number): Uint8Array {
  const writer = new CborWriter();
  writer.writeArray(5);
  writer.writeText("target");
  writer.writeArray(2);
  for (const column of ["id", "v"]) writer.writeText(column);
  writer.writeArray(1);
  writer.writeCount(0);
  writer.writeText("");
  writer.writeArray(1);
  writer.writeArray(1 + count);
  writer.writeCount(0);
  for (let i = 0; i < count; i++) writer.writeInteger(BigInt(i));
  return writer.toBytes();
}

/** CBOR by hand: {"FromNodeId": 1, "Payload": {"Id": 1, "Type": ..., "TableName": ..., "Row": ...}}. */
function looseRow(fields: Record<string, (writer: CborWriter) => void>): Uint8Array {
  const writer = new CborWriter();
  writer.writeMap(2);
  writer.writeText("FromNodeId");
  writer.writeCount(1);
  writer.writeText("Payload");
  writer.writeMap(Object.keys(fields).length);
  for (const [name, write] of Object.entries(fields)) {
    writer.writeText(name);
    write(writer);
  }
  return writer.toBytes();
}

/** An envelope whose origin is a text. */
function envelopeWithTextOrigin(): Uint8Array {
  const writer = new CborWriter();
  writer.writeArray(8);
  writer.writeCount(1);
  writer.writeText("node one");
  for (let i = 0; i < 5; i++) writer.writeCount(1);
  writer.writeBytes(new Uint8Array());
  return writer.toBytes();
}

/** Zstandard, RFC 8878 section 3.1.1.2: 32,768 blocks that each say "this byte 131,072 times" are 4 GiB in 128 KiB. */
function decompressionBomb(): Uint8Array {
  const [blocks, blockBytes] = [32_768, 131_072];
  const bytes = Buffer.alloc(6 + blocks * 4);
  bytes.writeUInt32LE(0xfd2fb528, 0);
  bytes[4] = 0x00; // no content size, no checksum
  bytes[5] = 0x38; // a window of 128 KiB
  for (let block = 0; block < blocks; block++) {
    const isLast = block === blocks - 1 ? 1 : 0;
    bytes.writeUIntLE(isLast | (1 << 1) | (blockBytes << 3), 6 + block * 4, 3);
  }
  return bytes;
}

const whole = row("target", { id: 1n, v: "whole" });
const wholeBatch = batch("target", [{ kind: "upsert", row: [1n, "whole"] }]);

const CASES: readonly HostileCase[] = [
  { name: "nothing", payload: new Uint8Array(), fate: { quarantined: /./ } },
  {
    name: "garbage",
    payload: new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"),
    fate: { quarantined: /./ },
  },
  {
    name: "garbage that says it is ours",
    payload: new TextEncoder().encode("{}"),
    format: BATCH_FORMAT,
    fate: { quarantined: /./ },
  },
  { name: "a truncated row", payload: whole.subarray(0, -3), fate: { quarantined: /./ } },
  {
    name: "a truncated batch",
    payload: wholeBatch.subarray(0, -3),
    format: BATCH_FORMAT,
    fate: { quarantined: /./ },
  },
  {
    name: "a truncated Zstandard frame",
    payload: compress(whole).subarray(0, -2),
    fate: { quarantined: /ends too early/ },
  },
  {
    name: "a decompression bomb",
    payload: decompressionBomb(),
    fate: { quarantined: /does not decompress within/ },
  },
  {
    name: "a decompression bomb in our format",
    payload: decompressionBomb(),
    format: BATCH_FORMAT,
    fate: { quarantined: /does not decompress within/ },
  },
  {
    name: "a format that is not known",
    payload: whole,
    format: "batch/next",
    fate: { quarantined: /format "batch\/next"/ },
  },
  {
    name: "a type of event that is not known",
    payload: looseRow({
      Type: (writer) => writer.writeText("truncate"),
      TableName: (writer) => writer.writeText("target"),
      Row: (writer) => {
        writer.writeMap(1);
        writer.writeText("id");
        writer.writeCount(1);
      },
    }),
    fate: { quarantined: /type "truncate" is not known/ },
  },
  {
    name: "fields of wrong types",
    payload: looseRow({
      Type: (writer) => writer.writeCount(1),
      TableName: (writer) => writer.writeText("target"),
      Row: (writer) => writer.writeCount(1),
    }),
    fate: { quarantined: /Type/ },
  },
  {
    name: "a row that is a list",
    payload: looseRow({
      Type: (writer) => writer.writeText("insert"),
      TableName: (writer) => writer.writeText("target"),
      Row: (writer) => writer.writeArray(0),
    }),
    fate: { quarantined: /./ },
  },
  {
    name: "an origin that is a text",
    payload: envelopeWithTextOrigin(),
    format: BATCH_FORMAT,
    fate: { quarantined: /origin/ },
  },
  {
    name: "a row without its key",
    payload: row("target", { v: "no key" }),
    fate: { quarantined: /lacks the key column "id"/ },
  },
  {
    name: "an event that is too narrow",
    payload: envelope(bodyOfWidth(1)),
    format: BATCH_FORMAT,
    fate: { quarantined: /an event of kind 0 has 2 items/ },
  },
  {
    name: "an event that is too wide",
    payload: envelope(bodyOfWidth(3)),
    format: BATCH_FORMAT,
    fate: { quarantined: /an event of kind 0 has 4 items/ },
  },
  {
    name: "part 7 of 9, the others missing",
    payload: envelope(new Uint8Array(10), { part: 6, parts: 9 }),
    format: BATCH_FORMAT,
    fate: "ignored",
  },
  {
    name: "an older number of the same origin",
    payload: envelope(
      encodeBody({
        table: "target",
        columns: ["id", "v"],
        key: [0],
        uniqueSignature: "",
        events: [{ kind: "upsert", row: [2n, "late"] }],
      }),
      { number: 1 },
    ),
    format: BATCH_FORMAT,
    fate: "ignored",
  },
  {
    name: "a table that is not here",
    payload: row("nowhere", { id: 1n }),
    fate: { parked: "nowhere", reason: /there is no such table here/ },
  },
  {
    name: "a hostile table name",
    payload: row('good"; DROP TABLE good; --', { id: 1n }),
    fate: { parked: 'good"; DROP TABLE good; --', reason: /there is no such table here/ },
  },
  {
    name: "a hostile table name in our format",
    payload: batch("good'); DELETE FROM good; --", [{ kind: "delete", key: [1n] }]),
    format: BATCH_FORMAT,
    fate: { parked: "good'); DELETE FROM good; --", reason: /there is no such table here/ },
  },
  {
    name: "SQLite's own table",
    payload: row("sqlite_schema", { rowid: 1n, sql: "x" }),
    fate: { parked: "sqlite_schema", reason: /there is no such table here/ },
  },
  {
    name: "Marmot's own table",
    payload: row("__marmot__meta", { name: "node_id", value: "7" }, "update"),
    fate: { parked: "__marmot__meta", reason: /there is no such table here/ },
  },
  {
    name: "a hostile column name",
    payload: row("strange", { id: 1n, 'v") VALUES (1); DROP TABLE good; --': 1n }),
    fate: { parked: "strange", reason: /column "v"\) VALUES \(1\); DROP TABLE good; --" is missing/ },
  },
  {
    name: "NULL where the column is NOT NULL",
    payload: batch("filled", [{ kind: "upsert", row: [1n, null] }]),
    format: BATCH_FORMAT,
    fate: { parked: "filled", reason: /NOT NULL constraint failed/ },
  },
  {
    name: "a value that a CHECK refuses",
    payload: batch("positive", [{ kind: "upsert", row: [1n, 5n] }, { kind: "upsert", row: [2n, -5n] }]),
    format: BATCH_FORMAT,
    fate: { parked: "positive", reason: /CHECK constraint failed/ },
  },
  {
    name: "text for an INTEGER of a STRICT table",
    payload: row("exact", { id: 1n, v: "many" }),
    fate: { parked: "exact", reason: /cannot store TEXT value in INTEGER column/ },
  },
  {
    name: "text for a key that is a rowid",
    payload: row("target", { id: "one", v: "bad key" }),
    fate: { parked: "target", reason: /datatype mismatch/ },
  },
  {
    name: "another primary key",
    payload: batch("keyed", [{ kind: "upsert", row: ["a", "b"] }], { columns: ["a", "b"] }),
    format: BATCH_FORMAT,
    fate: { parked: "keyed", reason: /it has another primary key/ },
  },
  {
    name: "a row that the application's own trigger would refuse",
    payload: row("guarded", { id: 1n, v: "bad" }),
    fate: { applied: "guarded", rows: [[1, "bad"]] },
  },
];

Deno.test("hostile messages leave the node up, are said once, and the good message behind them is applied", async (t) => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  await using hand = await HandPublisher.connect(cluster.server);
  const node = cluster.node(1);
  for (const [i, hostile] of CASES.entries()) {
    await t.step(hostile.name, async () => {
      const from = node.log.length;
      const before = traces(node);
      const { payload, format } = hostile;
      const sequence = await hand.publish({
        subject: SUBJECT,
        payload,
        ...(format === undefined ? {} : { format }),
      });
      await hand.publish({ subject: SUBJECT, payload: row("good", { id: BigInt(i) }) });
      await waitUntil(() => contentOf(node, "good").length === i + 1, {
        timeoutMs: 10_000,
        what: () =>
          `the good message does not come:
${node.log.slice(from)}`,
      });
      // The log comes through a pipe, and later than what is in the database.
      const isSaid = hostile.fate !== "ignored" && !("applied" in hostile.fate);
      if (isSaid) await node.waitForLog(new RegExp(`sequence=${sequence} `), { from });
      assertFate(node, { hostile, sequence, before, log: node.log.slice(from) });
    });
  }
  for (const table of ["target", "strange", "filled", "positive", "exact"]) {
    assert.deepEqual(contentOf(node, table), [], table);
  }
  if (process.platform === "linux") assert.ok(peakMemoryBytes(node) < 700e6, "the bombs went off");
  assert.equal(await node.stop(), 0);
});

interface Observed {
  readonly hostile: HostileCase;
  readonly sequence: number;
  readonly before: { quarantined: number; parked: number };
  readonly log: string;
}

function assertFate(
  node: ClusterNode,
  { hostile: { fate, payload, format }, sequence, before, log }: Observed,
): void {
  const after = traces(node);
  const warnings = log.split("\n").filter((line) => /WARN|ERROR/.test(line));
  const change = [after.quarantined - before.quarantined, after.parked - before.parked];
  if (fate === "ignored") {
    assert.deepEqual([change, warnings], [[0, 0], []]);
    return;
  }
  if ("applied" in fate) {
    assert.deepEqual([change, warnings], [[0, 0], []]);
    assert.deepEqual(contentOf(node, fate.applied), fate.rows);
    return;
  }
  assert.equal(warnings.length, 1, log);
  assert.match(warnings[0] ?? "", new RegExp(`sequence=${sequence} `));
  if ("quarantined" in fate) {
    assert.deepEqual(change, [1, 0]);
    const last = node.application.prepare("SELECT * FROM __marmot__quarantine ORDER BY id DESC LIMIT 1")
      .get();
    assert.equal(last?.["sequence"], sequence);
    assert.equal(last["subject"], SUBJECT);
    assert.equal(last["format"], format ?? null);
    assert.deepEqual(Buffer.from(last["payload"] as Uint8Array), Buffer.from(payload));
    assert.match(String(last["reason"]), fate.quarantined);
    return;
  }
  assert.deepEqual(change, [0, 1]);
  const last = node.application.prepare("SELECT * FROM __marmot__parked ORDER BY id DESC LIMIT 1").get();
  assert.equal(last?.["sequence"], sequence);
  assert.equal(last["table_name"], fate.parked);
  assert.match(String(last["reason"]), fate.reason);
}

function traces(node: ClusterNode): { quarantined: number; parked: number } {
  const count = (table: string) =>
    Number(node.application.prepare(`SELECT count(*) AS n FROM __marmot__${table}`).get()?.["n"]);
  return { quarantined: count("quarantine"), parked: count("parked") };
}

function contentOf(node: ClusterNode, table: string): unknown[][] {
  return node.application.prepare(`SELECT id, v FROM ${table} ORDER BY id`).all().map((row) =>
    Object.values(row)
  );
}

/** Source: proc(5), /proc/pid/status, VmHWM. */
function peakMemoryBytes(node: ClusterNode): number {
  const status = readFileSync(`/proc/${node.pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
