/** Stands between a client and a server on TCP: can cut all connections after some bytes, or hold the bytes back. */

import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Server, type Socket } from "node:net";

export class CuttingProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #bytesLeft = Infinity;
  #isHolding = false;

  private constructor(targetPort: number) {
    this.#server = createServer((client) => {
      const upstream = createConnection(targetPort, "127.0.0.1");
      for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
        this.#sockets.add(from);
        from.on("data", (chunk) => {
          if (this.#isHolding) return void from.pause();
          this.#bytesLeft -= chunk.length;
          if (this.#bytesLeft < 0) return this.cut();
          if (!to.write(chunk)) {
            from.pause();
            to.once("drain", () => from.resume());
          }
        });
        from.on("error", () => to.destroy());
        from.on("close", () => {
          this.#sockets.delete(from);
          to.destroySoon();
        });
      }
    });
  }

  static async start(targetPort: number): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(targetPort);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts all connections once so many more bytes have gone through, in both directions together. */
  cutAfter(bytes: number): void {
    this.#bytesLeft = bytes;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Lets connections stay open, and nothing through. */
  hold(): void {
    this.#isHolding = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}
