/** Connections that go silent without ending: nobody heals them, so the nodes must give them up by themselves. */
import assert from "node:assert/strict";
import { Cluster } from "../support/cluster.ts";
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

Deno.test("messages that come long after their publisher has given them up do no harm", async () => {
  const random = announcedRandom("late messages");
  await using server = await NatsServer.start();
  await using proxy = await FaultProxy.start({ target: () => server.port, random });
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: WRITERS_SCHEMA,
    natsUrl: (id) => id === 1 ? `nats://127.0.0.1:${proxy.port}` : server.url,
  });
  await using writers = new Writers(cluster.nodes, { perNode: 2, random });
  await writers.progress(20);
  const from = cluster.node(1).log.length;
  proxy.setFault({ mode: "hold" }, ["up"]);
  await cluster.node(1).waitForLog(/publishing failed, the changes go again/, { from });
  await writers.progress(20);
  proxy.heal();
  await writers.progress(20);
  await writers.stop();
  await cluster.converge({ timeoutMs: 60_000 });
  assert.deepEqual(writers.findLoss(cluster), []);
});
