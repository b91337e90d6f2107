/** A snapshot that is taken over into a live database. Rules: docs/design.md, "Late nodes". */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { dumpTables } from "../../scripts/table_dump.ts";
import type { Replica } from "../../src/db/replica.ts";
import { copyDatabase } from "../../src/db/snapshot/copy_database.ts";
import { openSnapshot } from "../../src/db/snapshot/open_snapshot.ts";
import type { MergeRequest } from "../../src/db/snapshot/snapshot_merge.ts";
import { DatabaseBusyError, MarmotError, SchemaMismatchError } from "../../src/errors.ts";
import { silentLog } from "../../src/observability/log.ts";
import { entryKinds } from "../../src/db/state/state_tables.ts";
import { readMerging } from "../../src/db/state/merge_wish.ts";
import { deletion, OTHER_ID, OWN_ID, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = `CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v);
  CREATE TABLE pairs (a, b, v, PRIMARY KEY (a, b));`;

function request(changes: Partial<MergeRequest> = {}): MergeRequest {
  return {
    stream: "s",
    savedBy: OTHER_ID,
    isOfStream: () => true,
    hasStream: () => true,
    stored: [],
    ...changes,
  };
}

/** The snapshot of a world, as another node has it on its disk. */
class Saved implements Disposable {
  private constructor(readonly path: string, readonly replica: Replica) {}

  static async of(world: TestReplica): Promise<Saved> {
    const path = `${world.path}.saved`;
    await copyDatabase(world.path, path);
    const replica = openSnapshot(path, { nowMs: () => world.nowMs, log: silentLog });
    replica.arm();
    return new Saved(path, replica);
  }

  [Symbol.dispose](): void {
    this.replica.close();
    for (const end of ["", "-wal", "-shm"]) rmSync(this.path + end, { force: true });
  }
}

function merge(late: TestReplica, saved: Saved, changes: Partial<MergeRequest> = {}): number {
  const merging = late.replica.recovery.snapshotMerge(saved.replica, request(changes));
  for (let steps = 1;; steps++) {
    const step = merging.step();
    if (step === "done") return steps;
    assert.equal(step, "more");
  }
}

function worlds(schema = SCHEMA): { saver: TestReplica; late: TestReplica } & Disposable {
  const saver = new TestReplica(schema);
  const late = new TestReplica(schema);
  saver.arm();
  late.arm();
  return {
    saver,
    late,
    [Symbol.dispose]() {
      saver[Symbol.dispose]();
      late[Symbol.dispose]();
    },
  };
}

const u = fc.constantFrom("a", "b", "c", "d", null);
const id = fc.bigInt({ min: 1n, max: 12n });
const remote = fc.oneof(
  fc.tuple(id, u, fc.bigInt({ min: 0n, max: 3n })).map((row) => ({ table: "t", event: upsert(...row) })),
  id.map((key) => ({ table: "t", event: deletion(key) })),
);
const local = fc.oneof(
  fc.tuple(id, u).map(([id, u]) => `INSERT OR REPLACE INTO t VALUES (${id}, ${u && `'${u}'`}, 'local')`),
  id.map((id) => `DELETE FROM t WHERE id = ${id}`),
  id.map((id) => `UPDATE OR IGNORE t SET id = id + 20 WHERE id = ${id}`),
);

Deno.test("after a merge all rows are the snapshot's, but for pending ones and what clashes with them", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(remote, { maxLength: 30 }),
      fc.nat(30),
      fc.array(local, { maxLength: 6 }),
      async (events, read, writes) => {
        using both = worlds();
        const { saver, late } = both;
        for (const [i, { table, event }] of events.entries()) {
          saver.apply(table, [event]);
          if (i < read) late.apply(table, [event]);
        }
        for (const sql of writes) late.application.exec(sql);
        const before = rowsById(late.application);
        const pending = new Set(late.entries().map((entry) => Number(entry[2])).filter((id) => id > 0));
        const isVictimThere = new Set(
          late.entries().filter((entry) => entry[1] === 2n && before.has(Number(entry[2]))).map((entry) =>
            Number(entry[2])
          ),
        );
        for (const id of isVictimThere) {
          const kinds = late.entries().filter((entry) => Number(entry[2]) === id).map((entry) => entry[1]);
          if (kinds.every((kind) => kind === 2n)) pending.delete(id);
        }
        using saved = await Saved.of(saver);
        merge(late, saved);
        const wanted = new Map([...before].filter(([id]) => pending.has(id)));
        const held = new Set<unknown>([...wanted.values()].map(([u]) => u).filter((u) => u !== null));
        for (const [id, row] of rowsById(saver.application)) {
          if (!pending.has(id) && !held.has(row[0])) wanted.set(id, row);
        }
        const sorted = (rows: ReadonlyMap<number, unknown>) => [...rows].sort(([a], [b]) => a - b);
        assert.deepEqual(sorted(rowsById(late.application)), sorted(wanted));
        assert.deepEqual(late.replica.positions.get("s"), saver.replica.positions.get("s"));
        assert.deepEqual(readMerging(late.replica.connection), []);
      },
    ),
    { numRuns: 30 },
  );
});

function rowsById(database: DatabaseSync): Map<number, unknown[]> {
  const select = database.prepare("SELECT id, u, v FROM t");
  select.setReturnArrays(true);
  return new Map((select.all() as unknown as unknown[][]).map(([id, ...row]) => [Number(id), row]));
}

function pendingOf(world: TestReplica): unknown[] {
  return world.entries().filter((entry) => entry[1] !== BigInt(entryKinds.settled)).map((entry) => entry[2]);
}

Deno.test("large tables are taken over page by page, rows without a key value and rows of all types too", async () => {
  using both = worlds();
  const { saver, late } = both;
  const rows = Array.from({ length: 1500 }, (_, i) => upsert(BigInt(i), `u${i}`, `v${i % 7}`));
  for (let at = 0; at < rows.length; at += 500) {
    saver.apply("t", rows.slice(at, at + 500));
    late.apply("t", rows.slice(at, at + 500));
  }
  const pair = (a: null | bigint, ...values: (string | bigint)[]) => ({
    kind: "list" as const,
    key: [a, null],
    rows: values.map((v) => [a, null, v]),
  });
  late.apply("pairs", [pair(null, "gone"), pair(1n, "same")]);
  saver.apply("pairs", [pair(1n, "same"), pair(2n, "x", "x", "y")]);
  // Every third row moves its UNIQUE value on, every tenth goes, and many come.
  saver.apply(
    "t",
    rows.filter((_, i) => i % 3 === 0).map((_, i) => upsert(BigInt(3 * i), `u${3 * i + 3}`, 1.5)),
  );
  saver.apply("t", rows.filter((_, i) => i % 10 === 1).map((_, i) => deletion(BigInt(10 * i + 1))));
  saver.apply(
    "t",
    Array.from({ length: 900 }, (_, i) => upsert(BigInt(5000 + i), null, new Uint8Array([i % 256]))),
  );
  using saved = await Saved.of(saver);
  assert.ok(merge(late, saved) > 5);
  assert.deepEqual(late.dump(), saver.dump());
  assert.deepEqual(late.rows("SELECT count(*) FROM __marmot__conflict"), [[0]]);
});

Deno.test("rows that this node has still to tell of stay, though the snapshot does not have them", async () => {
  using both = worlds("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const { saver, late } = both;
  const appears = "CREATE TABLE later (id INTEGER PRIMARY KEY, v)";
  late.application.exec(`${appears}; INSERT INTO later VALUES (1, 'not published'), (2, 'mine')`);
  late.arm();
  saver.application.exec(appears);
  saver.arm();
  saver.apply("later", [upsert(2n, "another's"), upsert(3n, "another's")]);
  using saved = await Saved.of(saver);
  merge(late, saved);
  assert.deepEqual(late.rows("SELECT * FROM later ORDER BY id"), [[1, "not published"], [2, "another's"], [
    3,
    "another's",
  ]]);
  assert.deepEqual(
    pendingOf(late),
    [1n],
    "it is published; what the snapshot has is not",
  );
});

Deno.test("own changes that are known to stand in the snapshot end, the snapshot's row counts", async () => {
  using both = worlds();
  const { saver, late } = both;
  late.application.exec("INSERT INTO t VALUES (1, 'mine', 1); INSERT INTO t VALUES (2, 'also mine', 1)");
  saver.apply("t", [upsert(1n, "mine", 1n)], { origin: OWN_ID });
  saver.apply("t", [upsert(1n, "another's, later", 2n)], { origin: 3n });
  using saved = await Saved.of(saver);
  const tableId = late.table("t").id;
  merge(late, saved, { stored: [{ tableId, after: 0, upTo: 1, sequence: 1 }] });
  assert.deepEqual(late.rows("SELECT id, u FROM t ORDER BY id"), [[1, "another's, later"], [2, "also mine"]]);
  assert.deepEqual(pendingOf(late), [2n]);
});

Deno.test("own changes behind the snapshot's end stay pending", async () => {
  using both = worlds();
  const { saver, late } = both;
  late.application.exec("INSERT INTO t VALUES (1, 'mine', 1)");
  saver.apply("t", [upsert(1n, "another's", 2n)]);
  using saved = await Saved.of(saver);
  merge(late, saved, { stored: [{ tableId: late.table("t").id, after: 0, upTo: 1, sequence: 2 }] });
  assert.deepEqual(late.rows("SELECT id, u FROM t"), [[1, "mine"]]);
  assert.deepEqual(late.entries().map((entry) => entry[2]), [1n]);
});

Deno.test("events that wait for their schema, hidden rows and marks of lost events are the snapshot's to decide", async () => {
  using both = worlds();
  const { saver, late } = both;
  late.application.exec("INSERT INTO t VALUES (1, 'x', 1)");
  late.apply("t", [upsert(2n, "x", 2n)]);
  late.apply("t", [upsert(3n, null, 1n, "new")], { columns: ["id", "u", "v", "w"] });
  late.replica.connection.exec("INSERT INTO __marmot__resync VALUES ('T', 's', 1, 3, 0)");
  assert.deepEqual(late.replica.parkedTables(), ["t"]);
  saver.application.exec("ALTER TABLE t ADD COLUMN w");
  saver.arm();
  saver.apply("t", [upsert(3n, "y", 1n, "new")]);
  using saved = await Saved.of(saver);
  assert.throws(
    () => merge(late, saved),
    (error) => error instanceof SchemaMismatchError && /column "w" is missing/.test(error.message),
  );
  late.application.exec("ALTER TABLE t ADD COLUMN w");
  late.arm();
  merge(late, saved);
  assert.deepEqual(late.rows("SELECT id, u, w FROM t"), [[1, "x", null], [3, "y", "new"]]);
  assert.deepEqual(late.replica.parkedTables(), []);
  assert.deepEqual(late.replica.tablesInNeedOfResync(), []);
  assert.deepEqual(late.rows("SELECT count(*) FROM __marmot__hidden"), [[0]]);
});

Deno.test("a table that is not here yet is waited for, unless it is of another stream or was dropped here", async () => {
  using both = worlds();
  const { saver, late } = both;
  const appears = "CREATE TABLE later (id INTEGER PRIMARY KEY, u, v)";
  saver.application.exec(appears);
  saver.arm();
  saver.apply("t", [upsert(1n, "a", 1n)]);
  saver.apply("later", [upsert(2n, "b", 2n)]);
  using saved = await Saved.of(saver);
  assert.throws(
    () => merge(late, saved),
    (error) =>
      error instanceof SchemaMismatchError &&
      error.message === 'Cannot take over table "later" of the snapshot: there is no such table here',
  );
  assert.deepEqual(readMerging(late.replica.connection), [], "nothing has begun");
  assert.deepEqual(late.rows("SELECT id FROM t"), []);
  merge(late, saved, { hasStream: ({ schema }) => schema.name !== "later" });
  assert.deepEqual(late.rows("SELECT id FROM t"), [[1]]);
  late.application.exec(appears);
  late.arm();
  merge(late, saved);
  assert.deepEqual(late.rows("SELECT * FROM later"), [[2, "b", 2]]);
  late.application.exec("DROP TABLE later");
  late.arm();
  assert.throws(
    () => merge(late, saved),
    // Half of a rebuild, maybe: no change of the schema tells that it is not.
    (error) =>
      error instanceof MarmotError && !(error instanceof SchemaMismatchError) &&
      /it was dropped here a moment ago, and may come back$/.test(error.message),
  );
  late.nowMs += 61_000;
  merge(late, saved);
  assert.deepEqual(late.rows("SELECT id FROM t"), [[1]]);
});

Deno.test("what this node's schema has and the snapshot's has not stays as it is", async () => {
  using both = worlds();
  const { saver, late } = both;
  late.application.exec(
    "ALTER TABLE t ADD COLUMN w DEFAULT 'd'; CREATE TABLE other (id INTEGER PRIMARY KEY)",
  );
  late.arm();
  late.application.exec("INSERT INTO other VALUES (1)");
  late.apply("t", [upsert(1n, "a", 1n, "kept")]);
  saver.apply("t", [upsert(1n, "a", 2n), upsert(2n, "b", 2n)]);
  using saved = await Saved.of(saver);
  merge(late, saved);
  assert.deepEqual(late.rows("SELECT * FROM t"), [[1, "a", 2, "kept"], [2, "b", 2, "d"]]);
  assert.deepEqual(late.rows("SELECT * FROM other"), [[1]]);
});

Deno.test("a table goes by the name that it has here, also where it was renamed", async () => {
  using both = worlds();
  const { saver, late } = both;
  saver.application.exec("ALTER TABLE t RENAME TO people");
  saver.arm();
  saver.apply("people", [upsert(1n, "a", 1n)]);
  using saved = await Saved.of(saver);
  merge(late, saved);
  assert.deepEqual(late.rows("SELECT * FROM t"), [[1, "a", 1]]);
});

Deno.test("the application's triggers keep a full-text index, and do not answer rows that come", async () => {
  using both = worlds(`CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT, v);
    CREATE TABLE audit (n);
    CREATE VIRTUAL TABLE words USING fts5(u, content=t, content_rowid=id);
    CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO words (rowid, u) VALUES (NEW.id, NEW.u); END;
    CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO words (words, rowid, u) VALUES ('delete', OLD.id, OLD.u); END;
    CREATE TRIGGER w AFTER UPDATE ON t BEGIN
      INSERT INTO words (words, rowid, u) VALUES ('delete', OLD.id, OLD.u);
      INSERT INTO words (rowid, u) VALUES (NEW.id, NEW.u); END;
    CREATE TRIGGER seen AFTER INSERT ON t BEGIN INSERT INTO audit VALUES (NEW.id); END;`);
  const { saver, late } = both;
  late.apply("t", [upsert(1n, "red", 1n), upsert(2n, "green", 1n)]);
  saver.apply("t", [upsert(2n, "yellow", 1n), upsert(3n, "blue", 1n)]);
  using saved = await Saved.of(saver);
  merge(late, saved);
  const found = (word: string) => late.rows(`SELECT rowid FROM words WHERE words MATCH '${word}'`).flat();
  assert.deepEqual(["red", "green", "yellow", "blue"].map(found), [[], [], [2], [3]]);
  late.application.exec("INSERT INTO words (words) VALUES ('integrity-check')");
  assert.deepEqual(late.rows("SELECT n FROM audit"), saver.rows("SELECT n FROM audit"));
});

Deno.test("a page that finds the database locked is written afterwards, and the application's writes between pages stay", async () => {
  using both = worlds();
  const { saver, late } = both;
  saver.apply("t", Array.from({ length: 400 }, (_, i) => upsert(BigInt(i), `u${i}`, "saved")));
  using saved = await Saved.of(saver);
  const merging = late.replica.recovery.snapshotMerge(saved.replica, request());
  const other = new DatabaseSync(late.path);
  let busy = 0;
  for (let step = 0;; step++) {
    if (step % 2 === 0) other.exec("BEGIN IMMEDIATE");
    try {
      if (merging.step() === "done") break;
    } catch (error) {
      if (!(error instanceof DatabaseBusyError)) throw error;
      busy++;
    } finally {
      if (step % 2 === 0) {
        other.exec(`INSERT OR REPLACE INTO t VALUES (${step * 10}, 'w${step}', 'written'); COMMIT`);
      }
    }
  }
  other.close();
  assert.ok(busy > 2);
  const rows = late.rows("SELECT id, v FROM t WHERE v = 'written'").length;
  assert.ok(rows > 2, String(rows));
  assert.equal(late.rows("SELECT id FROM t WHERE id < 400").length, 400);
});

Deno.test("a node that was killed in the middle knows it, and another merge ends it", async () => {
  using both = worlds();
  const { saver, late } = both;
  saver.apply("t", Array.from({ length: 400 }, (_, i) => upsert(BigInt(i), `u${i}`, "saved")));
  using saved = await Saved.of(saver);
  const merging = late.replica.recovery.snapshotMerge(saved.replica, request());
  for (let steps = 0; steps < 3; steps++) merging.step();
  late.reopen().arm();
  assert.ok(late.replica.recovery.isMergeWished("s"));
  assert.equal(late.replica.positions.get("s").cursor, 0);
  await assert.rejects(
    copyDatabase(late.path, `${late.path}.copy`),
    /the tables of a snapshot are being taken over/,
  );
  merge(late, saved);
  assert.deepEqual(late.dump(), saver.dump());
  assert.ok(!late.replica.recovery.isMergeWished("s"));
});

Deno.test("a merge that begins on one schema does not go on on another", async () => {
  using both = worlds();
  const { saver, late } = both;
  saver.apply("t", [upsert(1n, "a", 1n)]);
  using saved = await Saved.of(saver);
  const merging = late.replica.recovery.snapshotMerge(saved.replica, request());
  merging.step();
  late.application.exec("ALTER TABLE t ADD COLUMN w");
  assert.equal(merging.step(), "schema");
  late.arm();
  merge(late, saved);
  using database = new DatabaseSync(late.path);
  assert.deepEqual([...dumpTables(database).keys()].sort(), ["pairs", "t"]);
  assert.deepEqual(late.rows("SELECT id, u FROM t"), [[1, "a"]]);
});
