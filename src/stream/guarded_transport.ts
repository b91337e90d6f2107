/**
 * The client library's transport, made safe against sockets that fail at a bad moment. The library takes its
 * listeners off a socket before it lets go of it; when the reason was a reset by the server, the socket's error
 * is still on its way then, and an error event that nobody listens to ends the process. Seen with Deno 2.9.6 when
 * a server refuses credentials.
 */
import { NatsConnectionImpl, setTransportFactory } from "@nats-io/nats-core/internal";
import type { NatsConnection } from "@nats-io/nats-core";
import type { NodeConnectionOptions } from "@nats-io/transport-node";
import { nodeResolveHost, NodeTransport } from "@nats-io/transport-node/lib/node_transport.js";
import { createConnection, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";

/** The library's `connect` over guarded sockets. */
export function connectToNats(options: NodeConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new GuardedTransport(), dnsResolveFn: nodeResolveHost });
  return NatsConnectionImpl.connect(options);
}

class GuardedTransport extends NodeTransport {
  override dial({ hostname, port }: { hostname: string; port: number }): Promise<Socket> {
    const socket = guard(createConnection(port, hostname));
    socket.setNoDelay(true);
    return new Promise((resolve, reject) => {
      socket.once("connect", () => {
        socket.removeAllListeners();
        resolve(socket);
      });
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("the connection was closed")));
    });
  }

  override async startTLS(): Promise<TLSSocket> {
    return guard(await super.startTLS());
  }
}

/** Keeps one listener for errors on the socket, whatever is taken off. */
function guard<T extends Socket>(socket: T): T {
  const removeAll = socket.removeAllListeners.bind(socket);
  socket.removeAllListeners = (event?: string | symbol) => {
    removeAll(event);
    if (event === undefined || event === "error") socket.on("error", ignore);
    return socket;
  };
  return socket.on("error", ignore);
}

/** The closing that follows an error is what the library acts on. */
function ignore(): void {}
