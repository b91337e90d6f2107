/** Publishes by hand, past all that Marmot checks: what another program, or a hostile one, may put into a stream. */
import { jetstream, type JetStreamClient, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { headers as newHeaders, type NatsConnection } from "@nats-io/nats-core";
import { connectToNats } from "../../src/stream/socket_transport.ts";
import { streamConfigV06, type StreamSettings } from "../../src/stream/stream_config.ts";
import { FORMAT_HEADER } from "../../src/wire/batch_codec.ts";
import type { NatsServer } from "./nats_server.ts";

export interface HandMessage {
  readonly subject: string;
  readonly payload: Uint8Array;
  /** Value of the format header; no header where left out. */
  readonly format?: string;
}

export class HandPublisher implements AsyncDisposable {
  readonly manager: JetStreamManager;
  readonly #connection: NatsConnection;
  readonly #client: JetStreamClient;

  private constructor(connection: NatsConnection, manager: JetStreamManager) {
    this.#connection = connection;
    this.#client = jetstream(connection);
    this.manager = manager;
  }

  static async connect(server: NatsServer): Promise<HandPublisher> {
    const connection = await connectToNats({ servers: `127.0.0.1:${server.port}` });
    return new HandPublisher(connection, await jetstreamManager(connection));
  }

  /** Makes the streams of a cluster as the original v0.6 does. */
  async makeStreamsV06({ shards, compress }: { shards: number; compress: boolean }): Promise<void> {
    const settings: StreamSettings = {
      naming: { streamPrefix: "marmot-changes", subjectPrefix: "marmot-change-log", compress },
      shards,
      replicas: 1,
      maxLogEntries: 1024,
    };
    for (let shard = 1; shard <= shards; shard++) {
      await this.manager.streams.add({ ...streamConfigV06(settings, shard) });
    }
  }

  /** Publishes a message and returns its sequence. */
  async publish({ subject, payload, format }: HandMessage): Promise<number> {
    const headers = newHeaders();
    if (format !== undefined) headers.set(FORMAT_HEADER, format);
    return (await this.#client.publish(subject, payload, format === undefined ? {} : { headers })).seq;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }
}
