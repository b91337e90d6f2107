/** marmot snapshot list, verify and restore, as an operator runs them. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { dumpSchema, dumpTables } from "../../scripts/table_dump.ts";
import { Cluster } from "../support/cluster.ts";
import { runSnapshot, saveSnapshot, temporaryFiles } from "../support/snapshots.ts";

const SCHEMA = `CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE INDEX by_v ON t (v);
  CREATE TABLE log (line); INSERT INTO log (rowid, line) VALUES (7, 'seven'), (99, 'ninety-nine')`;

Deno.test("snapshots are listed, verified and restored to a file, also when the newest is damaged", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, isStarted: false });
  const node = cluster.node(1);
  const schema = dumpSchema(node.application);
  await node.start();
  const folder = join(cluster.folder, "store");
  const flags = ["-snapshot-url", pathToFileURL(folder).href];
  const run = async (words: string[], more: string[] = []) =>
    await runSnapshot(cluster, words, [...flags, ...more]).ended();

  const none = await run(["list"]);
  assert.deepEqual([none.code, none.output], [0, `There is no snapshot in ${pathToFileURL(folder).href}.\n`]);
  for (const verb of [["verify"], ["restore", "-to", join(cluster.folder, "x.db")]]) {
    const refused = await run(verb);
    assert.equal(refused.code, 1);
    assert.match(refused.error, /^marmot: Cannot (verify|restore) a snapshot: there is none in file:/);
  }

  const objects: string[] = [];
  for (const id of [1, 2]) {
    node.sql(`INSERT INTO t VALUES (${id}, 'row ${id}')`);
    const saved = await saveSnapshot(cluster, node, [...flags, "-json"]);
    assert.equal(saved.code, 0, saved.error);
    objects.unshift(JSON.parse(saved.output).object);
  }
  const listed = await run(["list", "-json"]);
  assert.deepEqual(JSON.parse(listed.output).map(({ object }: { object: string }) => object), objects);
  const hashes = JSON.parse(listed.output).map(({ schemaSha256 }: { schemaSha256: string }) => schemaSha256);
  assert.match(hashes[0], /^[0-9a-f]{64}$/);
  assert.equal(hashes[0], hashes[1], "of one schema");
  const lines = (await run(["list"])).output.split("\n");
  assert.match(
    lines[0] ?? "",
    /^snapshot-\S+: of node 1, 20\S+Z, \d+ bytes, \d+ as stored, schema [0-9a-f]{8}$/,
  );
  assert.ok(lines[0]?.endsWith(` ${hashes[0].slice(0, 8)}`));
  const sound = await run(["verify"]);
  assert.deepEqual([sound.code, sound.output], [0, objects.map((name) => `${name}: sound\n`).join("")]);

  const backup = join(cluster.folder, "backup.db");
  const restored = await run(["restore"], ["-to", backup]);
  assert.equal(restored.code, 0, restored.error);
  {
    using database = new DatabaseSync(backup);
    assert.equal(dumpSchema(database), schema);
    assert.deepEqual(dumpTables(database), dumpTables(node.application, ["t", "log"]));
    assert.deepEqual(
      database.prepare("SELECT rowid FROM log").all().map(({ rowid }) => rowid),
      [7, 99],
      "a table without a key keeps its rowids",
    );
  }
  const again = await run(["restore"], ["-to", backup]);
  assert.equal(again.code, 1);
  assert.match(again.error, /^marmot: Cannot restore to ".*backup\.db": there is a file of that name\n/);
  assert.equal((await run(["restore"])).code, 2);
  const nowhere = join(cluster.folder, "no", "such", "folder");
  const astray = await run(["restore"], ["-to", join(nowhere, "x.db")]);
  assert.deepEqual([astray.code, astray.error], [
    1,
    `marmot: Cannot restore to "${nowhere}/x.db": there is no folder "${nowhere}"\nMake the folder, or check -to.\n`,
  ]);

  const newest = join(folder, objects[0]!);
  const bytes = readFileSync(newest);
  bytes[100]! ^= 1;
  writeFileSync(newest, bytes);
  const damaged = await run(["verify", "-json"]);
  assert.equal(damaged.code, 1, damaged.error);
  const findings = JSON.parse(damaged.output);
  assert.match(findings[0].damage, /the sums differ/);
  assert.equal(findings[1].damage, null);
  const second = join(cluster.folder, "second.db");
  const fallback = await run(["restore"], ["-to", second]);
  assert.equal(fallback.code, 0, fallback.error);
  assert.match(fallback.error, new RegExp(`^${objects[0]} cannot be used: .*the sums differ`));
  using older = new DatabaseSync(second);
  assert.equal(older.prepare("SELECT count(*) AS n FROM t").get()?.["n"], 1);
  writeFileSync(join(folder, objects[1]!), "x");
  const lost = await run(["restore"], ["-to", join(cluster.folder, "third.db")]);
  assert.equal(lost.code, 1);
  assert.match(lost.error, /^marmot: Cannot restore to .*: no snapshot in file:.* is sound \(/m);
  assert.ok(!existsSync(join(cluster.folder, "third.db")));
  assert.deepEqual(temporaryFiles(join(cluster.folder, "third.db")), []);
});
