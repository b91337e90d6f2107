/** The proxy does each of its faults, on the connection that it is asked for, and heals. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { Random } from "../simulation/random.ts";
import { waitUntil } from "./cluster.ts";
import { FaultProxy } from "./fault_proxy.ts";

/** A server that answers every byte with itself, a proxy before it, and clients. */
class EchoWorld implements AsyncDisposable {
  readonly proxy: FaultProxy;
  /** Bytes that the server has received. */
  received = 0;
  readonly #server: Server;
  readonly #clients: Client[] = [];

  private constructor(server: Server, proxy: FaultProxy) {
    this.#server = server;
    this.proxy = proxy;
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        this.received += bytes.length;
        socket.write(bytes);
      });
    });
  }

  static async start(): Promise<EchoWorld> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const target = () => (server.address() as AddressInfo).port;
    return new EchoWorld(server, await FaultProxy.start({ target, random: new Random(1) }));
  }

  async connect(): Promise<Client> {
    const before = this.proxy.accepted;
    const client = new Client(connect(this.proxy.port, "127.0.0.1"));
    this.#clients.push(client);
    await until(() => this.proxy.accepted > before, "no connection");
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.socket.destroy();
    await this.proxy[Symbol.asyncDispose]();
    this.#server.close();
  }
}

class Client {
  text = "";
  error: string | undefined;
  isEnded = false;
  isClosed = false;

  constructor(readonly socket: Socket) {
    socket.on("data", (bytes) => this.text += String(bytes));
    socket.on("end", () => this.isEnded = true);
    socket.on("close", () => this.isClosed = true);
    socket.on("error", (error: NodeJS.ErrnoException) => this.error = error.code ?? error.message);
  }

  async echo(text: string): Promise<void> {
    const wanted = this.text + text;
    this.socket.write(text);
    await until(() => this.text === wanted, `"${this.text}" instead of "${wanted}"`);
  }
}

function until(condition: () => boolean, what: string): Promise<void> {
  return waitUntil(condition, { timeoutMs: 5_000, what: () => what });
}

Deno.test("the proxy passes bytes both ways, and the end of a connection", async () => {
  await using world = await EchoWorld.start();
  const client = await world.connect();
  await client.echo("a");
  await client.echo("b".repeat(100_000));
  client.socket.end();
  await until(() => client.isClosed && world.proxy.connections.length === 0, "not ended");
});

Deno.test("the proxy cuts in order, resets, and refuses", async () => {
  await using world = await EchoWorld.start();
  const [cut, spared] = [await world.connect(), await world.connect()];
  await cut.echo("a");
  await spared.echo("a");
  world.proxy.connections[0]?.cut();
  await until(() => cut.isClosed, "not cut");
  assert.deepEqual([cut.isEnded, cut.error], [true, undefined]);
  await spared.echo("b");
  world.proxy.reset();
  await until(() => spared.isClosed, "not reset");
  assert.equal(spared.error, "ECONNRESET");
  world.proxy.isRefusing = true;
  const refused = await world.connect();
  await until(() => refused.isClosed, "not refused");
  world.proxy.heal();
  await (await world.connect()).echo("c");
});

Deno.test("bytes that the proxy holds come in their order when it heals", async () => {
  await using world = await EchoWorld.start();
  const client = await world.connect();
  await client.echo("a");
  world.proxy.setFault({ mode: "hold" }, ["down"]);
  client.socket.write("b");
  client.socket.write("c");
  await until(() => world.received === 3, "the other direction is held, too");
  assert.equal(client.text, "a");
  world.proxy.heal();
  await until(() => client.text === "abc", "not delivered");
  await client.echo("d");
});

Deno.test("of a half-open connection one direction delivers nothing, and it does not outlive the fault", async () => {
  await using world = await EchoWorld.start();
  const [halfOpen, spared] = [await world.connect(), await world.connect()];
  await halfOpen.echo("a");
  await spared.echo("a");
  world.proxy.connections[0]?.setFault({ mode: "swallow" }, ["up"]);
  halfOpen.socket.write("lost");
  await spared.echo("b");
  assert.deepEqual([world.received, halfOpen.isClosed], [3, false]);
  world.proxy.heal();
  await until(() => halfOpen.isClosed, "a connection with a gap lives on");
  await spared.echo("c");
  assert.equal(world.received, 4);
});

Deno.test("bytes of a connection that its client has lost arrive behind those of the next connection", async () => {
  await using world = await EchoWorld.start();
  const client = await world.connect();
  await client.echo("a");
  world.proxy.setFault({ mode: "hold" }, ["up"]);
  const [first] = world.proxy.connections;
  client.socket.write("late");
  await until(() => first?.waiting("up") === 4, "not on its way");
  first?.orphan();
  await until(() => client.isClosed, "the client does not learn of it");
  const next = await world.connect();
  world.proxy.connections[1]?.heal();
  await next.echo("next");
  assert.equal(world.received, 5);
  world.proxy.heal();
  await until(() => world.received === 9, "the late bytes never come");
  await until(() => world.proxy.connections.length === 1, "the lost connection does not end");
  await next.echo("b");
});

Deno.test("the proxy delays and throttles, and changes neither bytes nor their order", async () => {
  await using world = await EchoWorld.start();
  const client = await world.connect();
  world.proxy.setFault({ delayMs: 40 });
  const delayedAt = performance.now();
  const text = Array.from({ length: 200 }, (_, i) => `${i},`).join("");
  for (const part of text.match(/.{1,7}/g) ?? []) client.socket.write(part);
  await until(() => client.text === text, "not the same bytes");
  assert.ok(performance.now() - delayedAt > 60, "not delayed");
  world.proxy.setFault({ bytesPerSecond: 100_000 }, ["up"]);
  const beganAt = performance.now();
  await client.echo("x".repeat(30_000));
  assert.ok(performance.now() - beganAt > 250, "not throttled");
  world.proxy.heal();
});
