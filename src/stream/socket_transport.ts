/**
 * Carries the client library's bytes over TCP or TLS. The library has a transport of its own, but that one takes
 * its listeners off a socket while an error may still be on its way, and an error event that nobody listens to
 * ends the process (seen when a server refuses credentials and resets). Here every socket is listened to as long
 * as it lives.
 */
import { errors, type NatsConnection, type Server } from "@nats-io/nats-core";
import { NatsConnectionImpl, setTransportFactory, type Transport } from "@nats-io/nats-core/internal";
import type { ConnectionOptions } from "@nats-io/nats-core";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** No server greets with more: INFO lists the servers of a cluster. */
const MAX_GREETING_BYTES = 1024 * 1024;

/**
 * One try of the client library to connect; later it connects again by itself. Nothing else in the process may
 * set the library's transport, which is the same for all connections.
 */
export function connectToNats(options: ConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({
    factory: () => new SocketTransport(),
    dnsResolveFn: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
  });
  return NatsConnectionImpl.connect(options);
}

class SocketTransport implements Transport {
  readonly lang = "marmot";
  readonly version = "1";
  closeError?: Error;
  readonly #closed = Promise.withResolvers<void | Error>();
  #socket: Socket | undefined;
  #chunks: Uint8Array[] = [];
  #wake = () => {};
  #isEncrypted = false;
  #isConnected = false;
  #isDone = false;

  get isClosed(): boolean {
    return this.#isDone;
  }

  async connect({ hostname, port, tlsName }: Server, options: ConnectionOptions): Promise<void> {
    const plain = this.#adopt(createConnection(port, hostname));
    plain.setNoDelay(true);
    const receive = (chunk: Uint8Array) => this.#receive(chunk);
    plain.on("data", receive);
    // The greeting stays in `#chunks`: the library reads it, too.
    const { tls_required: isRequired, tls_available: isOffered } = parseGreeting(await this.#greeting());
    if (options.tls && !isRequired && !isOffered) {
      throw new errors.ConnectionError("the server does not offer TLS");
    }
    if (options.tls || isRequired) {
      plain.off("data", receive);
      const servername = tlsName === "" ? {} : { servername: tlsName };
      const encrypted = this.#adopt(connectTls({ socket: plain, host: hostname, ...servername }));
      await once(encrypted, "secureConnect");
      encrypted.on("data", receive);
      this.#isEncrypted = true;
    }
    if (this.#isDone) throw new errors.ConnectionError("the connection was closed");
    this.#isConnected = true;
  }

  isEncrypted(): boolean {
    return this.#isEncrypted;
  }

  send(frame: Uint8Array): void {
    if (!this.#isDone) this.#socket?.write(frame);
  }

  close(error?: Error): Promise<void> {
    this.#finish(error);
    return Promise.resolve();
  }

  /** The server fell silent: what it has not taken so far is not to reach it later. */
  disconnect(): void {
    if (!this.#isEncrypted) this.#socket?.resetAndDestroy();
    this.#finish();
  }

  closed(): Promise<void | Error> {
    return this.#closed.promise;
  }

  /** Ends without telling: the library has given this connection up itself. */
  discard(): void {
    this.#isConnected = false;
    this.#finish();
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    for (;;) {
      const chunks = this.#chunks;
      this.#chunks = [];
      yield* chunks;
      if (this.#chunks.length > 0) continue;
      if (this.#isDone) return;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Makes this the socket that the bytes go through; its listeners for errors and the end stay for ever. */
  #adopt<T extends Socket>(socket: T): T {
    this.#socket = socket;
    socket.on("error", (error) => this.#finish(error));
    socket.on("close", () => this.#finish());
    return socket;
  }

  #receive(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#wake();
  }

  /** The first line; throws where the connection ends before it has come. */
  async #greeting(): Promise<string> {
    for (;;) {
      const bytes = this.#chunks.reduce((length, chunk) => length + chunk.length, 0);
      const text = this.#chunks.map((chunk) => new TextDecoder().decode(chunk)).join("");
      const end = text.indexOf("\r\n");
      if (end >= 0) return text.slice(0, end);
      if (bytes > MAX_GREETING_BYTES) throw new errors.ConnectionError("the server does not speak NATS");
      if (this.#isDone) throw this.closeError ?? new errors.ConnectionError("the connection was closed");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  #finish(error?: Error): void {
    if (this.#isDone) return;
    this.#isDone = true;
    if (error !== undefined) this.closeError = error;
    this.#socket?.destroy();
    this.#wake();
    // The library goes on by itself after a try that did not get this far.
    if (this.#isConnected) this.#closed.resolve(this.closeError);
  }
}

/** Source: NATS documentation, "Client protocol", INFO. */
function parseGreeting(line: string): { tls_required?: boolean; tls_available?: boolean } {
  const json = /^INFO\s+(\{.*\})\s*$/i.exec(line)?.[1];
  if (json === undefined) throw new errors.ConnectionError("the server does not speak NATS");
  return JSON.parse(json);
}
