/** How much of a long change log is read before a message is applied, and what waits until all of it is known. */
import assert from "node:assert/strict";
import type { IncomingMessage } from "../../src/db/apply/applier.ts";
import type { ApplyOutcome } from "../../src/db/apply/apply_outcome.ts";
import { BacklogError, DatabaseBusyError } from "../../src/errors.ts";
import { OWN_ID, TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v CHECK (v <> 'bad')); CREATE TABLE other (id)";
const LOAD_LIMIT = 3;
const ROWS = 20;
const BOUNDS = { rows: 1000, milliseconds: 1000 };

/** A replica whose application has written ROWS rows, one change each. */
class BacklogWorld extends TestReplica {
  /** Entries of the change log that were read since it was emptied. */
  readonly read: number[] = [];

  constructor() {
    super(SCHEMA, { loadLimit: LOAD_LIMIT });
    this.arm();
    const { log } = this.replica;
    const read = log.read.bind(log);
    log.read = (after, limit) => {
      const entries = read(after, limit);
      this.read.push(...entries.map(({ id }) => id));
      return entries;
    };
    for (let id = 1; id <= ROWS; id++) this.application.exec(`INSERT INTO t VALUES (${id}, 'mine')`);
  }

  /** Reads what is to be published, as the publisher does. */
  scan(maxEntries: number): void {
    const request = {
      after: new Map([[1, 0]]),
      shardOf: () => 1,
      shardsOf: () => [1],
      upTo: Infinity,
      maxEntries,
      maxBytes: 1e6,
    };
    this.replica.scan(request);
    this.read.length = 0;
  }

  /** An own message of this run. */
  echo(id: bigint, top = Number(id)): IncomingMessage {
    return this.message("t", [upsert(id, "mine")], { origin: OWN_ID, run: this.replica.run, top });
  }

  take(...messages: IncomingMessage[]): ApplyOutcome {
    const outcome = this.replica.apply(messages, BOUNDS);
    assert.ok(outcome);
    return outcome;
  }

  loadBacklog(): void {
    while (this.replica.loadBacklog());
  }

  pending(): number[] {
    return this.rows("SELECT id FROM __marmot__change_log WHERE kind <> 3").flat().map(Number);
  }
}

Deno.test("a scan for shards whose tables the change log does not name reads none of it", () => {
  using world = new BacklogWorld();
  const scan = (shard: number) =>
    world.replica.scan({
      after: new Map([[shard, 0]]),
      shardOf: (table) => table.schema.name === "t" ? 1 : 2,
      shardsOf: (table) => [table.schema.name === "t" ? 1 : 2],
      upTo: Infinity,
      maxEntries: 5,
      maxBytes: 1e6,
    });
  const result = scan(2);
  assert.deepEqual(world.read, []);
  assert.deepEqual({ to: result?.to, isAtEnd: result?.isAtEnd, sets: result?.sets }, {
    to: ROWS,
    isAtEnd: true,
    sets: [],
  });
  assert.equal(scan(1)?.to, 5, "the shard of the table that it names");
  assert.equal(world.read.length, 6);
});

Deno.test("own messages are read back without reading the change log again", () => {
  using world = new BacklogWorld();
  world.scan(10);
  const outcome = world.take(world.echo(1n), world.echo(2n), world.echo(3n, 10));
  assert.deepEqual([outcome.messages, outcome.echoed, outcome.needsBacklog], [3, 3, false]);
  assert.deepEqual(world.read, []);
  assert.equal(world.pending().length, ROWS - 3);
});

Deno.test("another node's message waits for a backlog, which is read in pieces outside of the transaction", () => {
  using world = new BacklogWorld();
  const theirs = world.message("t", [upsert(BigInt(ROWS), "theirs"), upsert(77n, "theirs")]);
  const outcome = world.take(theirs);
  assert.deepEqual([outcome.messages, outcome.needsBacklog], [0, true]);
  assert.deepEqual(world.read, []);
  assert.equal(world.replica.positions.get("s").cursor, 0);
  world.loadBacklog();
  const applied = world.take(theirs);
  assert.deepEqual([applied.messages, applied.written, applied.overwritten], [1, 1, 1]);
  assert.deepEqual(world.rows(`SELECT v FROM t WHERE id IN (${ROWS}, 77)`), [["mine"], ["theirs"]]);
  assert.deepEqual(world.read, Array.from({ length: ROWS }, (_, i) => i + 1), "each entry once");
});

Deno.test("what does not need the backlog is applied before what does", () => {
  using world = new BacklogWorld();
  world.scan(10);
  const outcome = world.take(world.echo(1n), world.message("t", [upsert(77n, "theirs")]), world.echo(2n));
  assert.deepEqual([outcome.messages, outcome.needsBacklog], [1, true]);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 77"), []);
});

Deno.test("a few changes are taken in at once, whoever wrote the message", () => {
  using world = new BacklogWorld();
  world.scan(ROWS - LOAD_LIMIT - 1);
  const outcome = world.take(world.message("t", [upsert(BigInt(ROWS), "theirs")]));
  assert.deepEqual([outcome.messages, outcome.overwritten], [1, 1]);
  assert.deepEqual(world.read, [ROWS - 2, ROWS - 1, ROWS]);
});

Deno.test("messages that belong together are not parted by a backlog", () => {
  using world = new BacklogWorld();
  world.scan(10);
  const group = [{ ...world.echo(1n), isFollowed: true }, world.message("t", [upsert(77n, "theirs")])];
  assert.throws(() => world.take(...group), BacklogError);
  assert.equal(world.pending().length, ROWS);
  world.loadBacklog();
  assert.equal(world.take(...group).messages, 2);
});

Deno.test("an own message that settles nothing of a row does not write it before all its changes are known", () => {
  using world = new BacklogWorld();
  world.scan(10);
  world.take(world.echo(1n));
  world.application.exec("UPDATE t SET v = 'newer' WHERE id = 1");
  const again = world.echo(1n);
  assert.throws(() => world.take(again), BacklogError);
  world.loadBacklog();
  assert.equal(world.take(again).messages, 1);
  assert.deepEqual(world.rows("SELECT v FROM t WHERE id = 1"), [["newer"]]);
});

Deno.test("a message that is undone leaves known what was known", () => {
  using world = new BacklogWorld();
  world.replica.log.backfillKey(world.table("t").id, [77n]);
  world.loadBacklog();
  const outcome = world.take(
    world.message("t", [upsert(77n, "theirs"), upsert(78n, "bad")]),
    world.message("other", [upsert(1n, 1n)]),
  );
  assert.deepEqual([outcome.messages, outcome.parked, outcome.needsBacklog], [2, 1, false]);
});

Deno.test("a database that is locked makes nothing be read again", () => {
  using world = new BacklogWorld();
  world.loadBacklog();
  world.read.length = 0;
  world.application.exec("BEGIN IMMEDIATE");
  const theirs = world.message("t", [upsert(77n, "theirs")]);
  assert.throws(() => world.take(theirs), DatabaseBusyError);
  world.application.exec("COMMIT");
  assert.equal(world.take(theirs).messages, 1);
  assert.deepEqual(world.read, [ROWS - 1, ROWS], "what is left when no more than a few are");
});
