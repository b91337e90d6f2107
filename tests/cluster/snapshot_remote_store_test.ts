/** Snapshots in stores that are no part of NATS, on real processes: a node saves there, and a new one begins with that. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { RcloneServer } from "../snapshot/rclone_server.ts";
import { Cluster } from "../support/cluster.ts";
import {
  coldNode,
  runSnapshot,
  saveSnapshot,
  temporaryFiles,
  untilEqual,
  untilReady,
} from "../support/snapshots.ts";

const SCHEMA = `CREATE TABLE t (id INTEGER PRIMARY KEY, v);
  INSERT INTO t VALUES (-1, 'there before Marmot'), (-2, hex(randomblob(50000)))`;
const LOGIN = ["--user", "marmot", "--pass", "s3cret"];
/** What tests/snapshot/ tells of rclone's caches. */
const CACHE = ["--vfs-cache-mode", "writes", "--vfs-write-back", "0"];

const STORES: Readonly<Record<string, () => Promise<{ server: RcloneServer; url: string }>>> = {
  async "an S3 server"() {
    const server = await RcloneServer.start("s3", ["--auth-key", "marmot,s3cret"]);
    await mkdir(join(server.data, "bucket"));
    const endpoint = `http://127.0.0.1:${server.port}`;
    return { server, url: `s3://marmot:s3cret@bucket/snapshots?endpoint=${endpoint}` };
  },

  async "a WebDAV server"() {
    const server = await RcloneServer.start("webdav", [...LOGIN, ...CACHE]);
    return { server, url: `webdav://marmot:s3cret@127.0.0.1:${server.port}/snapshots` };
  },

  async "an SFTP server"() {
    const server = await RcloneServer.start("sftp", [...LOGIN, ...CACHE]);
    const fingerprint = encodeURIComponent(await server.hostKeyFingerprint());
    return {
      server,
      url: `sftp://marmot:s3cret@127.0.0.1:${server.port}/snapshots?fingerprint=${fingerprint}`,
    };
  },
};

for (const [kind, start] of Object.entries(STORES)) {
  Deno.test(`with ${kind} a node saves by itself and by hand, and a new one begins with that`, async () => {
    const { server, url } = await start();
    await using _server = server;
    const flags = ["-snapshot-url", url];
    await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, hasSnapshots: true, flags });
    const node = cluster.node(1);
    await node.waitForLog(/INFO {2}snapshot saved/, { timeoutMs: 30_000 });
    node.sql("INSERT INTO t VALUES (1, 'saved by hand'); DELETE FROM t WHERE id = -1");
    await cluster.converge();
    const saved = await saveSnapshot(cluster, node, [...flags, "-json"]);
    assert.equal(saved.code, 0, saved.error);
    const { object } = JSON.parse(saved.output);
    node.sql("INSERT INTO t VALUES (2, 'comes from the stream')");

    await using cold = coldNode(cluster, 2, flags);
    await untilReady(cold);
    assert.match(
      cold.log,
      new RegExp(`INFO {2}taking a snapshot snapshot=${object.replaceAll(".", "\\.")} `),
    );
    await untilEqual(cluster, cold.path);
    assert.deepEqual(temporaryFiles(cold.path), []);
    const verified = await runSnapshot(cluster, ["verify"], flags).ended();
    assert.deepEqual([verified.code, verified.error], [0, ""]);
    assert.match(verified.output, new RegExp(`^${object.replaceAll(".", "\\.")}: sound\n\\S+: sound\n$`));
    for (const text of [node.log, cold.log, saved.output, saved.error]) assert.doesNotMatch(text, /s3cret/);
  });
}
