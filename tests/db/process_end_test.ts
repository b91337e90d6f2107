/** A process that ends inside one of an operator's commands, or while what was parked is tried again. */
import assert from "node:assert/strict";
import { beginPause, endPause } from "../../src/db/capture/pause.ts";
import type { Connection } from "../../src/db/connection.ts";
import { openDatabase } from "../../src/db/open_database.ts";
import { discardWaiting } from "../../src/db/operator/parked_tables.ts";
import { discardQuarantined, markForRetry } from "../../src/db/operator/quarantine_box.ts";
import { requestMerge, requestResync } from "../../src/db/operator/resync.ts";
import { removeMarmot } from "../../src/db/state/remove_marmot.ts";
import { contentOf, LeftBehind, watchStatements } from "./process_end.ts";
import { TestReplica, upsert } from "./test_replica.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, code UNIQUE); INSERT INTO t VALUES (1, 'a');" +
  "CREATE TABLE other (id INTEGER PRIMARY KEY)";
const WIDER = { columns: ["id", "code", "more"], key: [0] };
const BOUNDS = { rows: 100, milliseconds: 1000 };

/** An armed node with a change that is not published, two messages in quarantine, and two that are parked. */
function makeWorld(): TestReplica {
  const world = new TestReplica(SCHEMA);
  world.arm();
  const ofFuture = () => ({ ...world.message("other", [upsert(7n)]), format: "other/1" });
  assert.equal(world.replica.apply([ofFuture(), ofFuture()], BOUNDS)?.quarantined, 2);
  world.apply("t", [upsert(2n, "b", "more of b")], WIDER);
  world.apply("t", [upsert(2n, "B", "more of B"), upsert(3n, "c", null)], WIDER);
  world.application.exec("UPDATE t SET code = 'ours' WHERE id = 1");
  return world;
}

/** Does the work on the database of that path, as a process of its own. */
function onPath(path: string, work: (connection: Connection) => void): void {
  const connection = openDatabase(path);
  try {
    work(connection);
  } finally {
    connection.close();
  }
}

function assertWholeOrNothing(
  { path, work, minPoints }: { path: string; work: (connection: Connection) => void; minPoints: number },
): void {
  const before = contentOf(path);
  const connection = openDatabase(path);
  try {
    using left = new LeftBehind(connection, () => work(connection));
    const after = contentOf(left.behind);
    assert.notDeepEqual(after, before);
    assert.ok(left.inside.length >= minPoints, `${left.inside.length} points`);
    for (const [point, copy] of left.inside.entries()) {
      assert.deepEqual(contentOf(copy), before, `ended before statement ${point}`);
      onPath(copy, work);
      assert.deepEqual(contentOf(copy), after, `done again after it had ended before statement ${point}`);
    }
  } finally {
    connection.close();
  }
}

const COMMANDS: [string, (connection: Connection) => void][] = [
  ["pause", (connection) => void beginPause(connection, 1000)],
  ["quarantine retry", (connection) => void markForRetry(connection)],
  ["quarantine discard", (connection) => void discardQuarantined(connection)],
  ["parked discard", (connection) => void discardWaiting(connection, "t", { isAll: true, nowMs: 1000 })],
  ["resync", (connection) => requestResync(connection, { from: "first", shards: [1] })],
  ["resync with a snapshot", (connection) => requestMerge(connection, { streams: ["s-1"], isAll: false })],
];

for (const [name, work] of COMMANDS) {
  Deno.test(`a process that ends inside marmot ${name} has changed nothing, and the command can be given again`, () => {
    using world = makeWorld();
    assertWholeOrNothing({ path: world.path, work, minPoints: 4 });
  });
}

Deno.test("a process that ends while it ends a pause leaves the pause, and it can be ended again", () => {
  using world = makeWorld();
  onPath(world.path, (connection) => void beginPause(connection, 1000));
  assertWholeOrNothing({ path: world.path, work: (connection) => void endPause(connection), minPoints: 4 });
});

Deno.test("a process that ends inside -cleanup leaves all of Marmot in place, and the next -cleanup removes it", () => {
  using world = makeWorld();
  assertWholeOrNothing({
    path: world.path,
    work: (connection) => void removeMarmot(connection),
    minPoints: 25,
  });
});

Deno.test("a -cleanup that fails at one of its statements leaves all of Marmot in place, and the next one removes it", () => {
  using world = makeWorld();
  const before = contentOf(world.path);
  for (let failing = 1;; failing++) {
    let statements = 0;
    let failure: unknown;
    onPath(world.path, (connection) => {
      watchStatements(connection, () => {
        if (++statements === failing) throw new Error("the disk says no");
      });
      try {
        removeMarmot(connection);
      } catch (error) {
        failure = error;
      }
    });
    if (failure === undefined) break;
    assert.match(String(failure), /the disk says no/);
    assert.deepEqual(contentOf(world.path), before, `failed at statement ${failing}`);
  }
  assert.deepEqual(world.rows("SELECT name FROM sqlite_schema WHERE name LIKE '%marmot%'"), []);
  assert.deepEqual(world.rows("SELECT * FROM t"), [[1, "ours"]]);
});

Deno.test("a process that ends while parked messages are tried again leaves them parked, and the next one applies them", () => {
  using world = makeWorld();
  world.application.exec("ALTER TABLE t ADD COLUMN more");
  world.arm();
  const before = contentOf(world.path);
  using left = new LeftBehind(world.replica.connection, () => {
    assert.equal(world.replica.retryParked(BOUNDS)?.messages, 2);
  });
  assert.ok(left.inside.length > 10, `${left.inside.length} points`);
  const rows = [[1, "ours", null], [2, "B", "more of B"], [3, "c", null]];
  assert.deepEqual(world.rows("SELECT * FROM t"), rows);
  for (const [point, copy] of left.inside.entries()) {
    assert.deepEqual(contentOf(copy), before, `ended before statement ${point}`);
    const replica = world.open({ path: copy });
    try {
      replica.arm();
      assert.deepEqual(replica.parkedTables(), ["t"]);
      assert.equal(replica.retryParked(BOUNDS)?.messages, 2, `point ${point}`);
      assert.deepEqual(replica.parkedTables(), []);
      const { t, __marmot__parked: parked } = contentOf(copy);
      assert.deepEqual(t, contentOf(left.behind)["t"], `point ${point}`);
      assert.deepEqual(parked, []);
    } finally {
      replica.close();
    }
  }
});
