/** Saving snapshots by hand on real processes: beside a node, without one, killed, and with the broker killed. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Cluster, waitUntil } from "../support/cluster.ts";
import { runCommand } from "../support/command_run.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { NatsServer } from "../support/nats_server.ts";
import { announcedRandom } from "../support/random.ts";
import {
  entriesIn,
  MarmotRun,
  rowsOf,
  runSnapshot,
  saveSnapshot,
  temporaryFiles,
} from "../support/snapshots.ts";

const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";

function objectsIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.startsWith("snapshot-"));
}

Deno.test("a snapshot is saved beside a running node that is written to, and the newest two are kept", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA });
  const node = cluster.node(1);
  const folder = join(cluster.folder, "store");
  const flags = ["-snapshot-url", pathToFileURL(folder).href, "-json"];
  const objects: string[] = [];
  for (let round = 0; round < 3; round++) {
    node.sql(rowsOf(300_000, round * 1000 + 1));
    const { code, output, error } = await saveSnapshot(cluster, node, flags);
    assert.equal(code, 0, error);
    assert.equal(error, "", "nobody watches a terminal");
    objects.push(JSON.parse(output).object);
  }
  const entries = await entriesIn(folder);
  assert.deepEqual(entries.map(({ object }) => object), [objects[2], objects[1]]);
  assert.deepEqual(objectsIn(folder), objects.slice(1).sort());
  assert.equal(entries[0]?.nodeId, 1n);
  assert.deepEqual(temporaryFiles(node.path), []);
  assert.ok(node.isRunning);
  await cluster.converge();
});

Deno.test("-save-snapshot saves without a node what is published, as a person can follow, and refuses what is not", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  const node = cluster.node(1);
  const args = ["-save-snapshot", "-db-path", node.path, "-nats-url", cluster.server.url];
  node.sql("INSERT INTO t VALUES (1, 'published')");
  await node.untilPublished();
  assert.equal(await node.stop(), 0);
  const saved = await new MarmotRun(args).ended();
  assert.equal(saved.code, 0, saved.error);
  assert.match(saved.error, /INFO {2}snapshot saved object=snapshot-\d+-1-[0-9a-f]+\.db/);
  assert.doesNotMatch(saved.error, /\r/, "nobody watches a terminal");
  const watched = await runCommand(args, null, { isWatched: true });
  assert.equal(watched.code, 0, watched.error);
  assert.match(watched.error, /\ruploading 0\.\d of 0\.\d MB \(100 %\)/);
  node.sql("INSERT INTO t VALUES (2, 'captured, not published')");
  const refused = await new MarmotRun(args).ended();
  assert.equal(refused.code, 1);
  assert.match(
    refused.error,
    /^marmot: Cannot save a snapshot of ".*": 1 of its changes are not published, and no node runs on it\nStart the node, and save beside it\.$/m,
  );
});

Deno.test("a database that Marmot never had and one that is not there are one sentence each", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, isStarted: false });
  const node = cluster.node(1);
  const never = await saveSnapshot(cluster, node);
  assert.deepEqual([never.code, never.output], [1, ""]);
  assert.match(
    never.error,
    /^marmot: Cannot save a snapshot of ".*": Marmot has not replicated it yet\nStart Marmot/,
  );
  const missing = await runSnapshot(cluster, ["save"], ["-db-path", join(cluster.folder, "no.db")]).ended();
  assert.equal(missing.code, 1);
  assert.match(missing.error, /^marmot: Cannot open the database ".*no\.db": there is no such file/);
});

Deno.test("a save that is killed at any moment leaves the snapshot before, and the next start clears up", async () => {
  const random = announcedRandom("kills of a save");
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  const node = cluster.node(1);
  node.sql(rowsOf(12_000_000));
  const folder = join(cluster.folder, "store");
  const flags = ["-snapshot-url", pathToFileURL(folder).href];
  const startMs = Date.now();
  const first = await saveSnapshot(cluster, node, flags);
  const tookMs = Date.now() - startMs;
  assert.equal(first.code, 0, first.error);
  let names = (await entriesIn(folder)).map(({ object }) => object);
  let left = 0;
  for (let round = 0; round < 10; round++) {
    const run = runSnapshot(cluster, ["save"], ["-db-path", node.path, ...flags]);
    // From the start of the copy to the switch; the first part is the start of the process.
    await delay(tookMs * (0.2 + 0.8 * random.next()));
    run.child.kill("SIGKILL");
    await run.ended();
    left += temporaryFiles(node.path).length;
    const now = (await entriesIn(folder)).map(({ object }) => object);
    assert.ok(now.length === names.length || now.length === 2);
    for (const name of now) assert.ok(objectsIn(folder).includes(name), name);
    names = now;
  }
  assert.ok(left > 0, "no kill has met a save at work");
  const last = await saveSnapshot(cluster, node, flags);
  assert.equal(last.code, 0, last.error);
  assert.deepEqual(temporaryFiles(node.path), []);
  assert.ok(node.isRunning);
});

Deno.test("a nats-server that is killed during the upload is one sentence, and the snapshot before stays", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA });
  const node = cluster.node(1);
  node.sql("INSERT INTO t VALUES (0, 'small')");
  const first = await saveSnapshot(cluster, node, ["-json"]);
  assert.equal(first.code, 0, first.error);
  node.sql(rowsOf(20_000_000));
  await node.untilPublished({ timeoutMs: 60_000 });
  await using proxy = await FaultProxy.start({
    target: () => cluster.server.port,
    random: announcedRandom("a server killed during an upload"),
  });
  proxy.setFault({ bytesPerSecond: 10e6 }, ["up"]);
  const url = `nats://127.0.0.1:${proxy.port}`;
  const run = new MarmotRun(["snapshot", "save", "-db-path", node.path, "-nats-url", url]);
  const uploaded = () => Math.max(0, ...proxy.connections.map((connection) => connection.delivered("up")));
  await waitUntil(() => run.child.exitCode !== null || uploaded() > 2_000_000, {
    timeoutMs: 20_000,
    what: () => run.error,
  });
  await cluster.server.kill();
  const ended = await run.ended();
  assert.equal(ended.code, 1);
  assert.match(ended.error, /^marmot: Cannot .*\n/);
  assert.doesNotMatch(ended.error, /defect/);
  assert.deepEqual(temporaryFiles(node.path), []);
  await cluster.server.restart();
  const verified = await runSnapshot(cluster, ["verify"]).ended();
  const { object } = JSON.parse(first.output);
  assert.deepEqual([verified.code, verified.output], [0, `${object}: sound\n`]);
  const last = await saveSnapshot(cluster, node, ["-json"]);
  assert.equal(last.code, 0, last.error);
});

Deno.test("two that save at once, without a lease or each sure of it, leave whole snapshots", async () => {
  await using server = await NatsServer.start();
  await using proxy = await FaultProxy.start({
    target: () => server.port,
    random: announcedRandom("two that save at once"),
  });
  const natsUrl = () => `nats://127.0.0.1:${proxy.port}`;
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, natsUrl });
  cluster.node(1).sql(rowsOf(3_000_000));
  await cluster.converge();
  for (const url of [pathToFileURL(join(cluster.folder, "store")).href, "nats://"]) {
    const flags = ["-nats-url", server.url, "-snapshot-url", url];
    // What the nodes cannot publish holds the saves up: both have begun before either goes on.
    proxy.setFault({ mode: "hold" });
    for (const node of cluster.nodes) node.sql("INSERT INTO t (v) VALUES ('pending')");
    const saves = cluster.nodes.map((node) =>
      new MarmotRun(["snapshot", "save", "-db-path", node.path, ...flags])
    );
    const hasEnded = () => saves.some(({ child }) => child.exitCode !== null);
    await waitUntil(() => hasEnded() || cluster.nodes.every(({ path }) => temporaryFiles(path).length > 0), {
      timeoutMs: 20_000,
      what: () => "a save does not begin",
    });
    assert.ok(!hasEnded(), saves.map(({ error }) => error).join());
    proxy.heal();
    for (const save of saves) {
      const { code, error } = await save.ended();
      assert.equal(code, 0, error);
    }
    const verified = await new MarmotRun(["snapshot", "verify", ...flags]).ended();
    assert.equal(verified.code, 0, verified.output + verified.error);
    assert.match(verified.output, /^(\S+: sound\n)+$/);
    await cluster.converge();
  }
});
