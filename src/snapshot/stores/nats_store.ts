/**
 * Snapshots in NATS's own object store, in the bucket that the original uses: nodes of both kinds find each
 * other's objects there. Uses the connection that the node has anyway.
 */

import { PermissionViolationError, TimeoutError } from "@nats-io/nats-core";
import { ObjectBucket } from "../../stream/object_bucket.ts";
import type { BucketConnection } from "../../stream/object_bucket.ts";
import type { ObjectInfo } from "../snapshot_store.ts";
import type { Backend, BackendObject, Explanation, WriteOptions } from "./backend.ts";

export interface NatsPlace {
  readonly connection: BucketConnection;
  readonly streamPrefix: string;
  readonly replicas: number;
}

export class NatsStore implements Backend {
  readonly location: string;
  readonly #bucket: ObjectBucket;

  constructor({ connection, streamPrefix, replicas }: NatsPlace) {
    const bucket = `${streamPrefix}-snapshot-store`;
    this.location = `NATS bucket ${bucket}`;
    this.#bucket = new ObjectBucket({ connection, bucket, replicas });
  }

  async write(name: string, content: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<void> {
    await this.#bucket.put(name, content, options);
  }

  async open(name: string, signal: AbortSignal): Promise<BackendObject | undefined> {
    const found = await this.#bucket.open(name, signal);
    return found === undefined ? undefined : { info: found.object, content: found.content };
  }

  async list(signal: AbortSignal): Promise<ObjectInfo[]> {
    return await this.#bucket.list(signal);
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    await this.#bucket.delete(name, signal);
  }

  async removeAbandoned(olderThanMs: number, signal: AbortSignal): Promise<void> {
    await this.#bucket.removeAbandoned(olderThanMs, signal);
  }

  /** The connection belongs to the node. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  explain(error: unknown): Explanation | undefined {
    if (error instanceof PermissionViolationError) {
      return {
        reason: error.message,
        hint: "allow this user to publish to $JS.API.> and $O.>, and to subscribe to _INBOX.>",
      };
    }
    if (error instanceof TimeoutError) return { reason: "the NATS server does not answer" };
    return undefined;
  }
}
