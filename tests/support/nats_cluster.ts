/** Several nats-servers that form one NATS cluster, so that a stream can have a replica on each. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { NatsServer, type NatsServerOptions } from "./nats_server.ts";

export class NatsCluster implements AsyncDisposable {
  readonly servers: readonly NatsServer[];

  private constructor(servers: readonly NatsServer[]) {
    this.servers = servers;
  }

  static async start(count: number, options: NatsServerOptions = {}): Promise<NatsCluster> {
    const ports = await freePorts(count);
    const starting = ports.map((routePort, i) =>
      NatsServer.start({
        ...options,
        member: {
          serverName: `server-${i + 1}`,
          clusterName: "marmot-tests",
          routePort,
          otherRoutePorts: ports.filter((port) => port !== routePort),
        },
      })
    );
    const started = await Promise.allSettled(starting);
    const cluster = new NatsCluster(
      started.flatMap((result) => result.status === "fulfilled" ? [result.value] : []),
    );
    const failure = started.find((result) => result.status === "rejected");
    if (failure === undefined) return cluster;
    await cluster[Symbol.asyncDispose]();
    throw failure.reason;
  }

  /** The URLs of all servers, separated by commas, as nodes take them. */
  get url(): string {
    return this.servers.map((server) => server.url).join(",");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.servers) await server[Symbol.asyncDispose]();
  }
}

/** Ports that nobody listens on: routes must be known before the servers start. */
async function freePorts(count: number): Promise<number[]> {
  const listeners = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(listeners.map((listener) => once(listener, "listening")));
  const ports = listeners.map((listener) => (listener.address() as AddressInfo).port);
  await Promise.all(listeners.map((listener) => once(listener.close(), "close")));
  return ports;
}
