/** Three NATS servers that keep every stream three times lose one after the other, while applications write. */
import assert from "node:assert/strict";
import { jetstreamManager } from "@nats-io/jetstream";
import { setTimeout as delay } from "node:timers/promises";
import { connectToNats } from "../../src/stream/socket_transport.ts";
import { Cluster, type ClusterNode, waitUntil } from "../support/cluster.ts";
import { NatsCluster } from "../support/nats_cluster.ts";
import { announcedRandom } from "../support/random.ts";
import { Writers, WRITERS_SCHEMA } from "../support/writers.ts";

const SHARDS = 3;
const STREAM_PREFIX = "marmot-changes";

/** Waits until every stream has its three replicas, each up to date: only then may the next server go. */
async function waitForReplicas(servers: NatsCluster): Promise<void> {
  let seen = "nobody answered";
  await waitUntil(async () => {
    try {
      const connection = await connectToNats({
        servers: servers.servers.map(({ port }) => `127.0.0.1:${port}`),
      });
      try {
        const manager = await jetstreamManager(connection);
        const infos = [];
        for (let shard = 1; shard <= SHARDS; shard++) {
          infos.push(await manager.streams.info(`${STREAM_PREFIX}-${shard}`));
        }
        seen = JSON.stringify(infos.map(({ cluster }) => cluster));
        return infos.every(({ cluster }) => {
          const current = cluster?.replicas?.filter((replica) => replica.current && !replica.offline) ?? [];
          return cluster?.leader !== undefined && current.length === 2;
        });
      } finally {
        await connection.close();
      }
    } catch (error) {
      seen = String(error);
      return false;
    }
  }, { timeoutMs: 60_000, what: () => `the streams do not get their replicas back: ${seen}` });
}

/** A row of each node reaches the others, although writers write on. */
async function assertReplicating(cluster: Cluster, id: number): Promise<void> {
  const first = 10 * id;
  for (const node of cluster.nodes) {
    node.sql(`INSERT INTO t (id, v) VALUES (${first - node.id}, 'two servers left')`);
  }
  const count = (node: ClusterNode) =>
    Number(
      node.application.prepare("SELECT count(*) AS n FROM t WHERE id < ? AND id > ?").get(first, first - 10)
        ?.["n"],
    );
  await waitUntil(() => cluster.nodes.every((node) => count(node) === cluster.nodes.length), {
    timeoutMs: 30_000,
    what: () =>
      `nothing comes through two servers: ${cluster.nodes.map((node) => node.log.slice(-1500)).join("\n")}`,
  });
}

Deno.test("of three NATS servers with three replicas one at a time may be lost, and nothing is", async () => {
  const random = announcedRandom("three NATS servers");
  await using servers = await NatsCluster.start(3);
  await using cluster = await Cluster.start({
    nodes: 3,
    schema: WRITERS_SCHEMA,
    natsUrl: () => servers.url,
    flags: ["-shards", String(SHARDS), "-log-replicas", "3"],
  });
  await waitForReplicas(servers);
  await using writers = new Writers(cluster.nodes, { perNode: 1, random });
  await writers.progress(50);
  for (const [i, server] of servers.servers.entries()) {
    await server.kill();
    await writers.progress(50);
    await assertReplicating(cluster, -1 - i);
    await delay(random.below(1_000));
    await server.restart();
    await waitForReplicas(servers);
    await writers.progress(50);
  }
  await writers.stop();
  await cluster.converge({ timeoutMs: 60_000 });
  assert.deepEqual(writers.findLoss(cluster), []);
  for (const node of cluster.nodes) {
    assert.ok(node.isRunning, `node ${node.id} ended by itself:\n${node.log.slice(-2000)}`);
    assert.doesNotMatch(node.log, /stream stopped/);
  }
});
