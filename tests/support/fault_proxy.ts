/**
 * A TCP proxy that does to connections what networks do: it cuts and resets them, refuses new ones, delays and
 * throttles bytes, holds them back, and swallows them (one direction or both), on all connections or on one. What is
 * random about it comes from the Random that it is given.
 */
import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Server, type Socket } from "node:net";
import type { Random } from "../simulation/random.ts";
import { FaultyPipe, type LinkFault, NO_FAULT } from "./faulty_pipe.ts";

/** "up" is from the client to the server. */
export type Direction = "up" | "down";
const DIRECTIONS: readonly Direction[] = ["up", "down"];

export interface FaultProxyOptions {
  /** The port on 127.0.0.1 that a new connection goes to; asked each time. */
  readonly target: () => number;
  readonly random: Random;
}

export class FaultProxy implements AsyncDisposable {
  /** Whether new connections are reset as soon as they come. */
  isRefusing = false;
  /** Connections that were accepted so far. */
  accepted = 0;
  readonly #options: FaultProxyOptions;
  readonly #server: Server;
  readonly #connections = new Set<ProxiedConnection>();
  readonly #faults: Record<Direction, LinkFault> = { up: NO_FAULT, down: NO_FAULT };

  private constructor(options: FaultProxyOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    server.on("connection", (client) => this.#accept(client));
  }

  /** Listens on a free port of 127.0.0.1. */
  static async start(options: FaultProxyOptions): Promise<FaultProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new FaultProxy(options, server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Open connections, the oldest first. */
  get connections(): readonly ProxiedConnection[] {
    return [...this.#connections];
  }

  /** Puts a fault on every connection of this moment and on those to come; what is left out is as without a fault. */
  setFault(fault: Partial<LinkFault>, directions: readonly Direction[] = DIRECTIONS): void {
    for (const direction of directions) this.#faults[direction] = { ...NO_FAULT, ...fault };
    for (const connection of this.#connections) connection.setFault(fault, directions);
  }

  /** Ends every connection in order (FIN to both sides). */
  cut(): void {
    for (const connection of this.#connections) connection.cut();
  }

  /** Ends every connection as a crashed host does (RST to both sides). */
  reset(): void {
    for (const connection of this.#connections) connection.reset();
  }

  /** Resets every connection for its client alone: what the client has sent stays on its way until the proxy heals. */
  orphan(): void {
    for (const connection of this.#connections) connection.orphan();
  }

  /** Takes all faults away. Held bytes go on; connections of which bytes were swallowed are reset. */
  heal(): void {
    this.isRefusing = false;
    for (const direction of DIRECTIONS) this.#faults[direction] = NO_FAULT;
    for (const connection of this.#connections) connection.heal();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.reset();
    await closed;
  }

  #accept(client: Socket): void {
    this.accepted++;
    if (this.isRefusing) {
      client.on("error", () => {});
      client.resetAndDestroy();
      return;
    }
    const { target, random } = this.#options;
    const connection = new ProxiedConnection({ client, target: target(), random, faults: this.#faults });
    this.#connections.add(connection);
    void connection.ended.then(() => this.#connections.delete(connection));
  }
}

interface ProxiedConnectionOptions {
  readonly client: Socket;
  readonly target: number;
  readonly random: Random;
  readonly faults: Readonly<Record<Direction, LinkFault>>;
}

/** One connection through the proxy. It ends with either of its sockets. */
export class ProxiedConnection {
  /** Resolves when both sockets are closed. */
  readonly ended: Promise<void>;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #pipes: Readonly<Record<Direction, FaultyPipe>>;
  #isOrphaned = false;

  constructor({ client, target, random, faults }: ProxiedConnectionOptions) {
    this.#client = client;
    this.#server = createConnection({ port: target, host: "127.0.0.1", allowHalfOpen: true });
    const [near, far] = [this.#client, this.#server];
    this.#pipes = {
      up: new FaultyPipe({ from: near, to: far, random, fault: faults.up }),
      down: new FaultyPipe({ from: far, to: near, random, fault: faults.down }),
    };
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      // A reset on one side is one on the other; so is a server that is not there.
      socket.on("error", () => this.reset());
    }
    this.ended = Promise.all(
      [near, far].map((socket) => new Promise((resolve) => socket.once("close", resolve))),
    )
      .then(() => this.#stop());
  }

  /** Bytes that came through. */
  delivered(direction: Direction): number {
    return this.#pipes[direction].delivered;
  }

  /** Bytes that were accepted and neither delivered nor swallowed. */
  waiting(direction: Direction): number {
    return this.#pipes[direction].waiting;
  }

  /** As FaultProxy.setFault, for this connection alone. */
  setFault(fault: Partial<LinkFault>, directions: readonly Direction[] = DIRECTIONS): void {
    for (const direction of directions) this.#pipes[direction].setFault({ ...NO_FAULT, ...fault });
  }

  cut(): void {
    this.#stop();
    this.#client.destroy();
    this.#server.destroy();
  }

  reset(): void {
    this.#stop();
    for (const socket of [this.#client, this.#server]) if (!socket.destroyed) socket.resetAndDestroy();
  }

  /** As FaultProxy.orphan. */
  orphan(): void {
    if (this.#isOrphaned) return;
    this.#isOrphaned = true;
    this.setFault({ mode: "hold" }, ["up"]);
    this.setFault({ mode: "swallow" }, ["down"]);
    this.#pipes.up.end();
    this.#client.resetAndDestroy();
  }

  heal(): void {
    if (this.#isOrphaned) return this.#pipes.up.setFault(NO_FAULT);
    const hasGap = DIRECTIONS.some((direction) => this.#pipes[direction].hasGap);
    if (hasGap) this.reset();
    else this.setFault(NO_FAULT);
  }

  #stop(): void {
    for (const direction of DIRECTIONS) this.#pipes[direction].stop();
  }
}
