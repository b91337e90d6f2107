/** Snapshots that are not of the streams that are there: of another cluster, or of before all was lost but the snapshots. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { Cluster, waitUntil } from "../support/cluster.ts";
import {
  coldNode,
  entriesIn,
  saveSnapshot,
  temporaryFiles,
  untilEqual,
  untilReady,
} from "../support/snapshots.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";

/** Nodes leave time between two saves, also those of others. */
function makeOld(store: string): void {
  const path = join(store, "manifest.json");
  const manifest = JSON.parse(readFileSync(path, "utf8"));
  for (const entry of manifest.snapshots) entry.createdAtMs -= 3_600_000;
  writeFileSync(path, JSON.stringify(manifest));
}

Deno.test("a cluster that shares its store with another does not take the other's database", async () => {
  await using other = await Cluster.start({ nodes: 1, schema: SCHEMA });
  const store = join(other.folder, "store");
  const flags = ["-snapshot-url", pathToFileURL(store).href];
  other.node(1).sql("INSERT INTO t VALUES (1, 'of the other cluster')");
  await other.converge();
  const saved = await saveSnapshot(other, other.node(1), flags);
  assert.equal(saved.code, 0, saved.error);
  makeOld(store);

  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  cluster.node(1).sql("INSERT INTO t VALUES (2, 'of this cluster')");
  await cluster.converge();
  await using refused = coldNode(cluster, 2, flags);
  await waitUntil(() => refused.hasEnded, { timeoutMs: 40_000, what: () => refused.log });
  assert.match(
    refused.log,
    /^marmot: Cannot start without a database: no snapshot in file:\S* can be used \(snapshot-\S+: it is of another cluster, or the streams were made anew since it was saved: it tells of a stream "marmot-changes-\d" made at 20\S+Z, the one here was made at 20\S+Z\)\nSave a new one on a node that runs and is up to date \(marmot snapshot save\), or name another store in -snapshot-url\.$/m,
  );
  assert.ok(!existsSync(refused.path));
  assert.deepEqual(temporaryFiles(refused.path), []);

  // A node that runs finds none of this cluster's there, and saves one.
  await cluster.node(1).stop();
  await cluster.node(1).start({ flags: ["-enable-snapshot=true", ...flags] });
  await cluster.node(1).waitForLog(/INFO {2}snapshot saved/, { timeoutMs: 30_000 });
  assert.equal((await entriesIn(store)).length, 2);
  await using third = coldNode(cluster, 3, flags);
  await untilReady(third);
  await untilEqual(cluster, third.path);
});

Deno.test("where all was lost but the snapshots a node comes up with one, and others once it has saved", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "marmot-snapshots-" });
  using _end = { [Symbol.dispose]: () => Deno.removeSync(folder, { recursive: true }) };
  const store = join(folder, "store");
  mkdirSync(store);
  const flags = ["-snapshot-url", pathToFileURL(store).href];
  {
    await using lost = await Cluster.start({ nodes: 1, schema: SCHEMA });
    lost.node(1).sql("INSERT INTO t VALUES (1, 'saved')");
    await lost.converge();
    const saved = await saveSnapshot(lost, lost.node(1), flags);
    assert.equal(saved.code, 0, saved.error);
  }
  makeOld(store);
  await using cluster = await Cluster.start({ nodes: 0, schema: SCHEMA });
  await using first = coldNode(cluster, 2, flags);
  await untilReady(first);
  using application = new DatabaseSync(first.path, { timeout: 10_000 });
  application.exec("INSERT INTO t VALUES (2, 'afterwards')");
  await waitUntil(() => /INFO {2}snapshot saved/.test(first.log), {
    timeoutMs: 30_000,
    what: () => first.log,
  });
  await using second = coldNode(cluster, 3, flags);
  await untilReady(second);
  using copy = new DatabaseSync(second.path, { timeout: 10_000 });
  const rows = () => copy.prepare("SELECT v FROM t ORDER BY id").all().map(({ v }) => v);
  await waitUntil(() => rows().length === 2, { timeoutMs: 20_000, what: () => second.log });
  assert.deepEqual(rows(), ["saved", "afterwards"]);
});
