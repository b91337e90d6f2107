/** Streams on a real nats-server, as tests open them. */
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { Log, LogFields } from "../../src/observability/log.ts";
import type { ChangeStreams } from "../../src/stream/change_streams.ts";
import { openChangeStreams, type OpenOptions } from "../../src/stream/open_change_streams.ts";
import { connectToNats } from "../../src/stream/socket_transport.ts";
import { NatsServer, type NatsServerOptions } from "../support/nats_server.ts";

export class ServerWorld implements AsyncDisposable {
  readonly server: NatsServer;
  readonly log = new RecordedLog();
  readonly #opened: ChangeStreams[] = [];

  private constructor(server: NatsServer) {
    this.server = server;
  }

  static async start(options: NatsServerOptions = {}): Promise<ServerWorld> {
    return new ServerWorld(await NatsServer.start(options));
  }

  /** The streams as one node opens them: two shards unless told otherwise. */
  async open(options: Partial<OpenOptions> = {}): Promise<ChangeStreams> {
    const streams = await openChangeStreams({
      urls: [this.server.url],
      nodeId: 7n,
      streamPrefix: "marmot-changes",
      subjectPrefix: "marmot-change-log",
      shards: 2,
      replicas: 1,
      maxLogEntries: 1024,
      compress: false,
      wireFormat: "batch",
      log: this.log,
      signal: new AbortController().signal,
      random: Math.random,
      ...options,
    });
    this.#opened.push(streams);
    return streams;
  }

  /** Does something on the server that is not Marmot's work. */
  async administer<T>(work: (manager: JetStreamManager) => Promise<T>): Promise<T> {
    const { auth } = this.server;
    const servers = `127.0.0.1:${this.server.port}`;
    const connection = await connectToNats({
      servers,
      ...(auth && { user: auth.user, pass: auth.password }),
    });
    try {
      return await work(await jetstreamManager(connection));
    } finally {
      await connection.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const streams of this.#opened) await streams.close();
    await this.server[Symbol.asyncDispose]();
  }
}

/** A log whose lines a test can look at. */
export class RecordedLog implements Log {
  readonly lines: { readonly level: string; readonly event: string; readonly fields?: LogFields }[] = [];

  debug(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: "debug", event, fields });
  }
  info(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: "info", event, fields });
  }
  warn(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: "warn", event, fields });
  }
  error(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: "error", event, fields });
  }

  count(event: string): number {
    return this.lines.filter((line) => line.event === event).length;
  }
}
