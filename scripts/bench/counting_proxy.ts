/** A TCP proxy that counts the bytes that go through it, both ways. */
import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Server, type Socket } from "node:net";

export class CountingProxy implements AsyncDisposable {
  /** From the clients to the server, and back. */
  bytesUp = 0;
  bytesDown = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(targetPort: number) {
    this.#server = createServer((client) => {
      const target = createConnection({ port: targetPort, host: "127.0.0.1" });
      for (const socket of [client, target]) {
        socket.setNoDelay(true);
        this.#sockets.add(socket);
        // Either end may go at any time; the other follows.
        socket.on("error", () => {});
        socket.on("close", () => {
          this.#sockets.delete(socket);
          client.destroy();
          target.destroy();
        });
      }
      client.on("data", (bytes: Uint8Array) => this.bytesUp += bytes.length).pipe(target);
      target.on("data", (bytes: Uint8Array) => this.bytesDown += bytes.length).pipe(client);
    });
  }

  /** Listens on a free port of 127.0.0.1. */
  static async start(targetPort: number): Promise<CountingProxy> {
    const proxy = new CountingProxy(targetPort);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get url(): string {
    return `nats://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
