import assert from "node:assert/strict";
import { ChangeLog } from "../../src/db/capture/change_log.ts";
import { Connection } from "../../src/db/connection.ts";
import { createStateTables, entryKinds, keyWidth, widenChangeLog } from "../../src/db/state/state_tables.ts";
import { RawText } from "../../src/wire/value.ts";

function makeLog(entries: number): { connection: Connection; log: ChangeLog } & Disposable {
  const connection = new Connection(":memory:");
  createStateTables(connection);
  for (let i = 0; i < entries; i++) capture(connection);
  return { connection, log: new ChangeLog(connection), [Symbol.dispose]: () => connection.close() };
}

function capture(connection: Connection): void {
  connection.exec("INSERT INTO __marmot__change_log (table_id, k0) VALUES (1, 'key')");
}

const idsOf = (log: ChangeLog) => log.read(0, 1000).map((entry) => entry.id);

Deno.test("an id of the change log is never used again, whatever was trimmed", () => {
  using world = makeLog(5);
  const { log, connection } = world;
  assert.equal(log.delete([1, 2, 3, 4, 5]), 5);
  assert.deepEqual(log.read(0, 10).map((entry) => [entry.id, entry.kind]), [[5, entryKinds.settled]]);
  assert.equal(log.highestId(), 5);
  capture(connection);
  assert.deepEqual(idsOf(log), [5, 6]);
  assert.equal(log.delete([5]), undefined);
  assert.equal(log.delete([6]), 6);
  capture(connection);
  assert.deepEqual(idsOf(log), [6, 7]);
});

Deno.test("trimming deletes exactly the ids that it is given", () => {
  using world = makeLog(9);
  assert.equal(world.log.delete([7, 2, 3, 5, 3]), undefined);
  assert.deepEqual(idsOf(world.log), [1, 4, 6, 8, 9]);
  assert.equal(world.log.delete([9, 8, 1]), 9);
  assert.deepEqual(idsOf(world.log), [4, 6, 9]);
  assert.equal(world.log.delete([]), undefined);
});

Deno.test("entries come in order behind an id, and no more than asked for", () => {
  using world = makeLog(6);
  assert.deepEqual(world.log.read(2, 3).map((entry) => entry.id), [3, 4, 5]);
  assert.deepEqual(world.log.read(6, 3), []);
});

Deno.test("an empty log has no highest id", () => {
  using world = makeLog(0);
  assert.equal(world.log.highestId(), 0);
});

Deno.test("the log is widened for wider keys, keeps its entries, and holds keys exactly", () => {
  using world = makeLog(1);
  const { log, connection } = world;
  assert.equal(keyWidth(connection), 1);
  log.read(0, 1);
  widenChangeLog(connection, 3);
  log.forgetStatements();
  assert.equal(keyWidth(connection), 3);
  widenChangeLog(connection, 2);
  assert.equal(keyWidth(connection), 3);
  connection.exec(
    "INSERT INTO __marmot__change_log (table_id, k0, k1, k2) VALUES (2, 1.0, char(0), CAST(x'ff' AS TEXT))",
  );
  assert.deepEqual(log.read(0, 9).map((entry) => entry.key), [
    ["key", null, null],
    [1, "\0", new RawText(Uint8Array.of(0xff))],
  ]);
});

Deno.test("entries of a dropped table are done, those of a rebuilt one move", () => {
  using world = makeLog(2);
  const { log, connection } = world;
  connection.exec("INSERT INTO __marmot__change_log (table_id, k0) VALUES (2, 'other')");
  log.moveEntries(1, 3);
  log.dropEntries(2);
  assert.deepEqual(log.read(0, 9).map((entry) => [entry.tableId, entry.kind]), [[3, 0], [3, 0], [
    2,
    entryKinds.settled,
  ]]);
});
