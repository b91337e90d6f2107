/** Which snapshots fit the streams, what a manifest must tell, and which files beside a database are nobody's any more. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { judgeFit, readFacts } from "../../src/node/snapshot/candidates.ts";
import { decodeHeaders, encodeHeaders, schemaHashOf } from "../../src/node/snapshot/snapshot_headers.ts";
import { removeAbandoned, temporaryPath } from "../../src/node/snapshot/temporary_files.ts";

const NAMES = ["changes-1", "changes-2"];

/** `madeAnew` names those that are not the same as when the snapshot was saved. */
function streams(first: number, last: number, madeAnew: readonly string[] = []) {
  const stateOf = (name: string) => ({
    name,
    createdAt: madeAnew.includes(name) ? "later" : "then",
    firstSequence: first,
    lastSequence: last,
    maxMessages: 100,
  });
  return { names: NAMES, states: new Map(NAMES.map((name) => [name, stateOf(name)])) };
}

function factsAt(cursor: number, names = NAMES, stateVersion = 1) {
  const positions = names.map((name) => ({ name, createdAt: "then", cursor, storedAt: "" }));
  return { positions, schemaHash: "", stateVersion };
}

Deno.test("a snapshot fits where no stream has dropped what comes behind it", () => {
  assert.equal(judgeFit(factsAt(50), streams(51, 150)), undefined);
  assert.equal(
    judgeFit(factsAt(50), streams(52, 150)),
    'it is too old: it ends at 50 of stream "changes-1", which begins at 52 by now',
  );
  assert.equal(judgeFit(factsAt(50, ["changes-1"]), streams(1, 150)), undefined, "a shard without messages");
  assert.match(
    judgeFit(factsAt(50, ["changes-1"]), streams(2, 150)) ?? "",
    /it ends at 0 of stream "changes-2"/,
  );
});

Deno.test("a snapshot none of whose streams is the one that is there now is of another cluster, once there are messages", () => {
  const refusal = "it is of another cluster, or the streams were made anew since it was saved: " +
    'it tells of a stream "changes-1" made at then, the one here was made at later';
  assert.equal(judgeFit(factsAt(50), streams(1, 9, NAMES)), refusal);
  assert.equal(judgeFit(factsAt(50), streams(90, 150, NAMES)), refusal);
  assert.equal(judgeFit(factsAt(50), streams(151, 150, NAMES)), refusal, "all that was there is trimmed");
  assert.equal(judgeFit(factsAt(50, ["changes-1"]), streams(1, 9, ["changes-1"])), refusal);
  // Rows go to the streams by their keys, so those that the snapshot tells of may have none here.
  const { names, states } = streams(1, 0, ["changes-1"]);
  const second = streams(1, 9).states.get("changes-2");
  assert.ok(second !== undefined);
  const written = { names, states: new Map([...states, ["changes-2", second]]) };
  assert.equal(judgeFit(factsAt(50, ["changes-1"]), written), refusal);
});

Deno.test("where all but the snapshots was lost one is still taken, and where only some streams were", () => {
  assert.equal(judgeFit(factsAt(50), { names: NAMES, states: new Map() }), undefined);
  assert.equal(judgeFit(factsAt(50), streams(1, 0, NAMES)), undefined, "nobody has written yet");
  assert.equal(judgeFit(factsAt(50), streams(1, 150, ["changes-1"])), undefined);
  assert.equal(judgeFit(factsAt(50), streams(1, 150, ["changes-2"])), undefined);
  // Saved before there was any message, so it tells of no stream.
  assert.equal(judgeFit(factsAt(0, []), streams(1, 150)), undefined);
  const untold = factsAt(0);
  const positions = untold.positions.map((position) => ({ ...position, createdAt: "" }));
  assert.equal(judgeFit({ ...untold, positions }, streams(1, 150)), undefined);
});

Deno.test("a snapshot of streams of other names, or of a newer Marmot, is refused", () => {
  assert.equal(
    judgeFit(factsAt(50, ["others-1"]), streams(1, 9)),
    'it is of other streams ("others-1"), not of "changes-1"',
  );
  assert.deepEqual(readFacts({ headers: encodeHeaders(factsAt(50, NAMES, 2)) }), {
    unusable: "a newer Marmot has saved it: upgrade this node",
  });
});

Deno.test("what a snapshot tells of the streams is read, or it is said why not", () => {
  assert.deepEqual(readFacts({ headers: encodeHeaders(factsAt(50)) }), factsAt(50));
  assert.deepEqual(readFacts({ headers: {} }), {
    unusable: "its manifest does not tell how far the streams were applied",
  });
});

Deno.test("what the manifest says of the streams survives, and anything else is refused", () => {
  const facts = { ...factsAt(9007199254740991), nodeId: "1", logTop: 3, pending: 0 };
  const headers = encodeHeaders(facts);
  assert.deepEqual(decodeHeaders(headers).positions, facts.positions);
  const schemaHash = "0123456789abcdef".repeat(4);
  assert.equal(schemaHashOf(encodeHeaders({ ...facts, schemaHash })), schemaHash);
  for (const hash of ["", "x".repeat(64), `${schemaHash}\n`]) {
    assert.equal(schemaHashOf({ ...headers, "marmot-schema-sha256": hash }), undefined);
  }
  for (
    const text of ["", "{}", "[1]", '[["a","b",-1,""]]', '[["a","b",1.5,""]]', '[["a",1,1,""]]', "not JSON"]
  ) {
    assert.throws(() => decodeHeaders({ ...headers, "marmot-streams": text }), /does not tell how far/, text);
  }
  assert.throws(() => decodeHeaders({ ...headers, "marmot-state-version": "x" }), /does not tell how far/);
});

Deno.test("files of processes that are gone are removed, those of others at work and of the application stay", () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-temporary-"));
  try {
    const dbPath = join(folder, "app.db");
    const gone = ["app.db.marmot-999999999-0123456789ab.tmp", "app.db.marmot-999999999-0123456789ab.tmp-wal"];
    const own = temporaryPath(dbPath);
    const nested = temporaryPath(own);
    const kept = [
      "app.db",
      "app.db.marmot-notes.tmp",
      `app.db.marmot-${process.ppid}-0123456789ab.tmp`,
      "other.db.marmot-999999999-0123456789ab.tmp",
    ];
    for (const name of [...gone, ...kept]) writeFileSync(join(folder, name), "x");
    for (const path of [own, nested]) writeFileSync(path, "x");
    assert.equal(removeAbandoned(dbPath), 4);
    for (const name of gone) assert.ok(!existsSync(join(folder, name)), name);
    for (const path of [own, nested]) assert.ok(!existsSync(path), path);
    for (const name of kept) assert.ok(existsSync(join(folder, name)), name);
    assert.equal(removeAbandoned(join(folder, "no folder", "x.db")), 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
