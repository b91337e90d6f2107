/**
 * What the original v0.6 has put into its streams and its database, met by a node of ours: the recorded streams bring
 * it to the original's own rows, every recorded message leaves it up, and it takes over where the original stood.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { BATCH_FORMAT, decodeBody } from "../../src/wire/batch_codec.ts";
import { decodeMessage } from "../../src/wire/message.ts";
import { shardOfTable } from "../../src/wire/routing.ts";
import { decodeRowEvent } from "../../src/wire/row_event_codec.ts";
import { encodeSeqMap } from "../../src/wire/seq_map.ts";
import { fromHex, readVectors } from "../golden/vectors.ts";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { HandPublisher } from "../support/hand_publisher.ts";

/** `[table, [[column, typeof, quote(), bits?], …]]`, as tests/golden/README.md says. */
type VectorRow = readonly [table: string, columns: readonly (readonly [string, string, string, string?])[]];

interface RecordedMessage {
  readonly stream: string;
  readonly subject: string;
  readonly seq: number;
  readonly dataHex: string;
}

interface RecordedRun {
  readonly compress: boolean;
  readonly shards: number;
  readonly schema: readonly string[];
  readonly messages: readonly RecordedMessage[];
  readonly rowsOnReplica: readonly VectorRow[];
}

interface RecordedDecoding {
  readonly name: string;
  readonly hex: string;
  readonly accepted: boolean;
  /** null where it was not decoded. */
  readonly apply: {
    readonly error?: string;
    readonly panic?: string;
    readonly tableAfter: readonly (readonly [id: string, type: string, quoted: string])[];
  } | null;
}

const RUNS = readVectors<RecordedRun[]>("stream_v06.json");
const PLAIN = RUNS.find((run) => !run.compress)!;

/**
 * Tables that may differ from the original's replica when a node reads the streams later than they were written,
 * and why. In the order of writing nothing differs.
 */
const DIFFERENCES_WHEN_LATE: Readonly<Record<string, string>> = {
  uniq:
    "id 1 and id 3 held the e-mail a@x one after the other, and row hash routing put them into two streams: " +
    "which of two rows with one UNIQUE value is the later one cannot be told any more, by the original neither",
};

for (const run of RUNS) {
  const kind = run.compress ? "compressed" : "plain";
  const flags = run.compress ? ["-compress"] : [];

  Deno.test(`the original's ${kind} messages bring a node to the rows of the original's replica`, async () => {
    await using cluster = await Cluster.start({
      nodes: 1,
      schema: run.schema.join(";"),
      flags,
      isStarted: false,
    });
    await using hand = await HandPublisher.connect(cluster.server);
    await hand.makeStreamsV06(run);
    const node = cluster.node(1);
    await node.start();
    for (const message of run.messages) {
      assert.equal(await hand.publish(asPublished(message)), message.seq);
      await applied(node, message);
    }
    assert.deepEqual(rowsOf(node.application), comparable(run.rowsOnReplica));
    assert.deepEqual(tracesOf(node.application), { quarantined: 0, parked: 0 });
    assert.equal(await node.stop(), 0);
  });

  Deno.test(`a node that comes later reads the original's ${kind} streams from their first message`, async () => {
    await using cluster = await Cluster.start({
      nodes: 1,
      schema: run.schema.join(";"),
      flags,
      isStarted: false,
    });
    await using hand = await HandPublisher.connect(cluster.server);
    await hand.makeStreamsV06(run);
    for (const message of run.messages) await hand.publish(asPublished(message));
    const node = cluster.node(1);
    await node.start();
    for (const message of run.messages) await applied(node, message);
    const isSure = (row: { table: string }) => DIFFERENCES_WHEN_LATE[row.table] === undefined;
    const rows = rowsOf(node.application);
    assert.deepEqual(rows.filter(isSure), comparable(run.rowsOnReplica).filter(isSure));
    const emails = node.application.prepare("SELECT email, count(*) AS n FROM uniq GROUP BY 1 ORDER BY 1")
      .all();
    assert.deepEqual(emails.map((row) => Object.values(row)), [["a@x", 1], ["b@x", 1], ["c@x", 1]]);
  });
}

Deno.test("no message that the original's decoder was tried with harms a node", async () => {
  const schema = `CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE good (id INTEGER PRIMARY KEY);
    INSERT INTO t VALUES (1, 'old'), (99, 'other')`;
  await using cluster = await Cluster.start({ nodes: 1, schema });
  await using hand = await HandPublisher.connect(cluster.server);
  const decodings = readVectors<RecordedDecoding[]>("decode_v06.json");
  const subject = "marmot-change-log-1";
  for (const { hex } of decodings) await hand.publish({ subject, payload: fromHex(hex) });
  const seq = await hand.publish({ subject, payload: goodMessage() });
  const node = cluster.node(1);
  await applied(node, { stream: "marmot-changes-1", seq });
  assert.equal(node.application.prepare("SELECT count(*) AS n FROM good").get()?.["n"], 1);
  assert.equal(await node.stop(), 0);
});

/** {"FromNodeId": 1, "Payload": {"Type": "insert", "TableName": "good", "Row": {"id": 1}}}, made of a recorded message. */
function goodMessage(): Uint8Array {
  return fromHex(
    "a26a46726f6d4e6f6465496401675061796c6f6164a364547970656" +
      "6696e73657274695461626c654e616d6564676f6f6463526f77a162696401",
  );
}

/** Where a recorded message leaves the value of row 1 and the rows otherwise than with the original, and why. */
const DIFFERENCES_OF_APPLYING: Readonly<
  Record<string, { readonly rows: readonly string[]; readonly why: string }>
> = {
  "update without the key in the row: a new row with the next rowid": {
    rows: ["1 text 'old'", "99 text 'other'"],
    why: "every node would give the row another rowid, so it goes into quarantine",
  },
  "update that lacks a column: the column becomes its default (REPLACE)": {
    rows: ["1 text 'old'", "99 text 'other'"],
    why: "a column that a message does not carry keeps its value: its sender has no such column",
  },
  "table name in other case": {
    rows: ["1 integer 1", "99 text 'other'"],
    why: "SQLite takes both for one table; the original stops for ever",
  },
};

Deno.test("each message that the original's decoder was tried with leaves its rows, or others for a stated reason", async () => {
  const folder = await mkdtemp(join(tmpdir(), "marmot-decode-"));
  const unmet = new Set(Object.keys(DIFFERENCES_OF_APPLYING));
  try {
    for (const [i, decoding] of readVectors<RecordedDecoding[]>("decode_v06.json").entries()) {
      const path = join(folder, `${i}.db`);
      using application = new DatabaseSync(path);
      application.exec(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'old'), (99, 'other')",
      );
      applyToNewReplica(path, fromHex(decoding.hex));
      const difference = DIFFERENCES_OF_APPLYING[decoding.name];
      unmet.delete(decoding.name);
      const rows = application.prepare(
        "SELECT id || ' ' || typeof(v) || ' ' || replace(quote(v), '9.0e+999', 'Inf') AS row FROM t ORDER BY id",
      )
        .all().map((row) => String(row["row"]));
      assert.deepEqual(rows, difference?.rows ?? rowsAfter(decoding), decoding.name);
      // What the original does not survive is put aside here, and nothing else is.
      const { quarantined, parked } = tracesOf(application);
      const isTaken = difference === undefined ? isApplied(decoding) : rows[0] !== "1 text 'old'";
      const isHarmless = /lacks a column|^delete without the key/.test(decoding.name);
      if (!isHarmless) assert.equal(quarantined + parked, isTaken ? 0 : 1, decoding.name);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  assert.deepEqual([...unmet], [], "differences that no vector has");
});

function isApplied({ accepted, apply }: RecordedDecoding): boolean {
  return accepted && apply !== null && apply.error === undefined && apply.panic === undefined;
}

function rowsAfter({ apply }: RecordedDecoding): string[] {
  return (apply?.tableAfter ?? [["1", "text", "'old'"], ["99", "text", "'other'"]]).map((row) =>
    row.join(" ")
  );
}

function applyToNewReplica(path: string, payload: Uint8Array): void {
  const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const replica = Replica.open(path, {
    nodeId: 7n,
    makeNodeId: () => 7n,
    readSeqMap: () => new Map(),
    nowMs: () => 0,
    log: silent,
  });
  try {
    replica.arm();
    const stream = { stream: "marmot-changes-1", createdAt: "then", subject: "marmot-change-log-1" };
    const message = { ...stream, sequence: 1, storedAt: "then", format: null, payload, echoTop: undefined };
    replica.apply([message], { rows: 1, milliseconds: 1 });
  } finally {
    replica.close();
  }
}

/** What the original leaves in a database for a table of users (names_v06.json, "database"). */
const ORIGINAL_STATE = `
  CREATE TABLE __marmot___change_log_global (
    id INTEGER PRIMARY KEY AUTOINCREMENT, change_table_id INTEGER, table_name TEXT);
  CREATE TABLE __marmot__users_change_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, val_id INTEGER, val_name TEXT, val_age INTEGER, val_score REAL,
    val_avatar BLOB, val_active BOOLEAN, val_created DATETIME, type TEXT, created_at INTEGER, state INTEGER);
  CREATE INDEX __marmot__users_change_log_state_index ON __marmot__users_change_log (state);
  CREATE TRIGGER __marmot__users_change_log_on_insert AFTER INSERT ON users
    WHEN (SELECT count(*) FROM pragma_function_list WHERE name = 'marmot_version') < 1 BEGIN
    INSERT INTO __marmot__users_change_log (val_id, val_name, type, state) VALUES (NEW.id, NEW.name, 'insert', 0);
    INSERT INTO __marmot___change_log_global (change_table_id, table_name) VALUES (last_insert_rowid(), 'users');
  END;
  CREATE TRIGGER __marmot__users_change_log_on_update AFTER UPDATE ON users BEGIN SELECT marmot_version(); END;
  CREATE TRIGGER __marmot__users_change_log_on_delete AFTER DELETE ON users BEGIN SELECT marmot_version(); END;`;

Deno.test("a node takes over a database of the original: its positions, what it had not published, and its objects go", async () => {
  await using cluster = await Cluster.start({
    nodes: 1,
    schema: PLAIN.schema.join(";") + ";" + ORIGINAL_STATE,
    isStarted: false,
  });
  await using hand = await HandPublisher.connect(cluster.server);
  await hand.makeStreamsV06(PLAIN);
  for (const message of PLAIN.messages) await hand.publish(asPublished(message));
  const node = cluster.node(1);
  // The original had read all streams to their ends, but for the last message of one.
  const positions = new Map(PLAIN.messages.map(({ stream, seq }) => [stream, seq]));
  const unread = PLAIN.messages.at(-1)!;
  positions.set(unread.stream, unread.seq - 1);
  writeFileSync(node.seqMapPath, encodeSeqMap(positions));
  // One row that it had published, one that it had captured only.
  node.sql("INSERT INTO users (id, name) VALUES (501, 'published')");
  node.sql("UPDATE __marmot__users_change_log SET state = 1");
  node.sql("INSERT INTO users (id, name) VALUES (502, 'captured')");
  await node.start();
  await applied(node, unread);
  const event = decodeRowEvent(fromHex(unread.dataHex));
  assert.equal(event.table, "notes");
  const counts = node.application.prepare("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM notes)")
    .get();
  assert.deepEqual(Object.values(counts ?? {}), [2, 1]);
  // The application goes on writing, which the original's triggers would make fail now.
  node.sql("UPDATE users SET age = 9 WHERE id = 501");
  const own = await waitForUsersMessages(hand, 2);
  assert.deepEqual(own, [502n, 501n]);
  const left = node.application.prepare(
    "SELECT name FROM sqlite_schema WHERE name GLOB '__marmot__users*' OR name GLOB '__marmot___change_log*'",
  ).all();
  assert.deepEqual(left, []);
  // Its own positions count from now on, whatever the file says.
  assert.equal(await node.stop(), 0);
  writeFileSync(node.seqMapPath, encodeSeqMap(new Map([[unread.stream, 1]])));
  await node.start();
  node.sql("INSERT INTO notes (title) VALUES ('after the restart')");
  await node.untilPublished({ timeoutMs: 10_000 });
  assert.equal(node.application.prepare("SELECT count(*) AS n FROM notes").get()?.["n"], 2);
});

/** Keys of the users' events in our own messages, once there are `count` messages. */
async function waitForUsersMessages(hand: HandPublisher, count: number): Promise<unknown[]> {
  const stream = `marmot-changes-${shardOfTable("users", PLAIN.shards)}`;
  const before = PLAIN.messages.filter((message) => message.stream === stream).length;
  await waitUntil(async () => (await hand.manager.streams.info(stream)).state.last_seq >= before + count, {
    timeoutMs: 10_000,
    what: () => `${stream} does not get ${count} messages`,
  });
  const keys: unknown[] = [];
  for (let seq = before + 1; seq <= before + count; seq++) {
    const stored = await hand.manager.streams.getMessage(stream, { seq });
    const message = decodeMessage(BATCH_FORMAT, stored!.data);
    if (message.kind !== "batch") continue;
    for (const event of decodeBody(message.envelope.body).events) {
      if (event.kind === "upsert") keys.push(event.row[0]);
    }
  }
  return keys;
}

function asPublished({ subject, dataHex }: RecordedMessage): { subject: string; payload: Uint8Array } {
  return { subject, payload: fromHex(dataHex) };
}

/** Waits until the node's cursor is at a message. */
async function applied(node: ClusterNode, { stream, seq }: { stream: string; seq: number }): Promise<void> {
  const cursor = node.application.prepare("SELECT cursor FROM __marmot__stream WHERE name = ?");
  await waitUntil(() => Number(cursor.get(stream)?.["cursor"] ?? 0) >= seq, {
    timeoutMs: 10_000,
    what: () => `message ${seq} of ${stream} is not applied:\n${node.log.slice(-2000)}`,
  });
}

function tracesOf(database: DatabaseSync): { quarantined: number; parked: number } {
  const count = (table: string) =>
    Number(database.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]);
  return { quarantined: count("__marmot__quarantine"), parked: count("__marmot__parked") };
}

interface ComparableRow {
  readonly table: string;
  readonly columns: readonly string[];
}

/** A REAL by its bits: quote() has written them in several ways over the years. */
function comparable(rows: readonly VectorRow[]): ComparableRow[] {
  return sorted(rows.map(([table, columns]) => ({
    table,
    columns: columns.map(([name, type, quoted, bits]) => `${name} ${type} ${bits ?? quoted}`),
  })));
}

/** All rows of the application's tables in the same form. */
function rowsOf(database: DatabaseSync): ComparableRow[] {
  const tables = database.prepare(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB '__marmot__*' AND name NOT GLOB 'sqlite_*'",
  ).all().map((row) => String(row["name"]));
  return sorted(tables.flatMap((table) => rowsOfTable(database, table)));
}

function rowsOfTable(database: DatabaseSync, table: string): ComparableRow[] {
  const info = database.prepare("SELECT name, pk FROM pragma_table_info(?)").all(table);
  const names = info.map((column) => String(column["name"]));
  if (info.every((column) => column["pk"] === 0)) names.unshift("rowid");
  const selected = names.flatMap((name) => [
    `typeof(${name})`,
    `quote(${name})`,
    `CASE typeof(${name}) WHEN 'real' THEN ${name} END`,
  ]);
  const statement = database.prepare(`SELECT ${selected.join(", ")} FROM ${table}`);
  statement.setReturnArrays(true);
  return (statement.all() as unknown as unknown[][]).map((values) => ({
    table,
    columns: names.map((name, i) => {
      const [type, quoted, real] = values.slice(3 * i, 3 * i + 3);
      return `${name} ${type} ${typeof real === "number" ? bitsOf(real) : quoted}`;
    }),
  }));
}

function bitsOf(real: number): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, real);
  return view.getBigUint64(0).toString(16).padStart(16, "0");
}

function sorted(rows: ComparableRow[]): ComparableRow[] {
  return rows.sort((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
}
