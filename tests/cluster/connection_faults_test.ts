/** Connections that go silent without ending: nobody heals them, so the nodes must give them up by themselves. */
import assert from "node:assert/strict";
import { jetstreamManager } from "@nats-io/jetstream";
import { connectToNats } from "../../src/stream/socket_transport.ts";
import { Cluster, waitUntil } from "../support/cluster.ts";
import { type Direction, FaultProxy } from "../support/fault_proxy.ts";
import { NatsServer } from "../support/nats_server.ts";
import { announcedRandom } from "../support/random.ts";
import { Writers, WRITERS_SCHEMA } from "../support/writers.ts";

/** A node gives a silent server up after three of its pings, one every five seconds. */
const GIVEN_UP_MS = 30_000;
/** What goes silent on the connection of each node. */
const SILENT: readonly (readonly Direction[])[] = [["up"], ["down"], ["up", "down"]];

Deno.test("connections that deliver nothing any more, in one direction or both, are given up and made anew", async () => {
  const random = announcedRandom("silent connections");
  await using server = await NatsServer.start();
  await using proxies = new AsyncDisposableStack();
  const perNode: FaultProxy[] = [];
  for (const _ of SILENT) {
    perNode.push(proxies.use(await FaultProxy.start({ target: () => server.port, random })));
  }
  await using cluster = await Cluster.start({
    nodes: SILENT.length,
    schema: WRITERS_SCHEMA,
    natsUrl: (id) => `nats://127.0.0.1:${perNode[id - 1]?.port}`,
  });
  await using writers = new Writers(cluster.nodes, { perNode: 1, random });
  await writers.progress(20);
  const from = cluster.nodes.map((node) => node.log.length);
  for (const [i, proxy] of perNode.entries()) {
    for (const connection of proxy.connections) connection.setFault({ mode: "swallow" }, SILENT[i]);
  }
  for (const [i, node] of cluster.nodes.entries()) {
    await node.waitForLog(/connected to NATS again/, { from: from[i] ?? 0, timeoutMs: GIVEN_UP_MS });
  }
  await writers.progress(20);
  await writers.stop();
  await cluster.converge({ timeoutMs: 60_000 });
  assert.deepEqual(writers.findLoss(cluster), []);
});

Deno.test("messages that reach the server behind newer ones, from a connection that was lost, do no harm", async () => {
  const random = announcedRandom("late messages");
  await using server = await NatsServer.start();
  await using proxy = await FaultProxy.start({ target: () => server.port, random });
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: WRITERS_SCHEMA,
    natsUrl: (id) => id === 1 ? `nats://127.0.0.1:${proxy.port}` : server.url,
  });
  const [one, other] = [cluster.node(1), cluster.node(2)];
  one.sql("INSERT INTO t (id, v) VALUES (1, 'published'), (2, 'published'), (3, 'published')");
  await cluster.converge();
  const [lost] = proxy.connections;
  lost?.setFault({ mode: "hold" }, ["up"]);
  one.sql("UPDATE t SET v = 'older' WHERE id < 3; DELETE FROM t WHERE id = 3");
  await waitUntil(() => (lost?.waiting("up") ?? 0) > 100, { timeoutMs: 10_000, what: () => one.log });
  one.sql("UPDATE t SET v = 'newer' WHERE id < 3; INSERT INTO t (id, v) VALUES (3, 'newer')");
  lost?.orphan();
  await cluster.converge();
  const before = await countMessages(server);
  lost?.heal();
  await waitUntil(async () => await countMessages(server) > before, {
    timeoutMs: 10_000,
    what: () => "the late message never came",
  });
  other.sql("INSERT INTO t (id, v) VALUES (4, 'behind the late message')");
  await cluster.converge();
  for (const node of cluster.nodes) {
    const values = node.application.prepare("SELECT v FROM t ORDER BY id").all().map((row) => row["v"]);
    assert.deepEqual(values, ["newer", "newer", "newer", "behind the late message"]);
  }
});

/** How many messages all streams hold. */
async function countMessages(server: NatsServer): Promise<number> {
  const connection = await connectToNats({ servers: `127.0.0.1:${server.port}` });
  try {
    let count = 0;
    for await (const { state } of (await jetstreamManager(connection)).streams.list()) {
      count += state.messages;
    }
    return count;
  } finally {
    await connection.close();
  }
}
