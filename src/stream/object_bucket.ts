/**
 * A bucket of NATS's object store: a stream that holds objects in chunks, and a message about each object. The
 * client library has one too, but it keeps an object that is read faster than it is used in memory without bound,
 * and it waits for every chunk it writes. Invariant: the message about an object is sent only after the server
 * has taken all of its chunks, and nothing of an object is removed that such a message may speak of.
 * Source: NATS ADR-20, "JetStream based object stores".
 */

import { JetStreamApiError, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { headers as messageHeaders, type NatsConnection } from "@nats-io/nats-core";
import { MarmotError } from "../errors.ts";
import { ApiCode } from "./broker_errors.ts";
import { REQUEST_TIMEOUT_MS, untilAborted } from "./connection.ts";
import { encodeObjectMeta, type ObjectMeta, parseObjectMeta } from "./object_meta.ts";
import { readChunks } from "./object_reader.ts";
import { store, writeChunks } from "./object_writer.ts";

/** As the original's; a server may allow less. */
const CHUNK_BYTES = 128 * 1024;

/** What a bucket needs of Connection. */
export interface BucketConnection {
  readonly nats: NatsConnection;
  /** Aborts when the connection is lost. */
  readonly session: AbortSignal;
}

export interface BucketOptions {
  readonly connection: BucketConnection;
  readonly bucket: string;
  /** With how many servers a new bucket is kept. */
  readonly replicas: number;
}

export interface BucketObject {
  readonly name: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  readonly headers: Readonly<Record<string, string>>;
}

export class ObjectBucket {
  readonly #options: BucketOptions;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(options: BucketOptions) {
    this.#options = options;
  }

  /** Replaces the object in one step; makes the bucket where there is none. */
  async put(
    name: string,
    content: AsyncIterable<Uint8Array>,
    options: { headers: Readonly<Record<string, string>>; signal: AbortSignal },
  ): Promise<void> {
    const signal = this.#while(options.signal);
    const manager = await this.#open(signal);
    await this.#makeStream(manager, signal);
    const old = await this.#meta(manager, { name, signal });
    const id = crypto.getRandomValues(new Uint8Array(12)).toHex();
    const { bucket, connection: { nats, session } } = this.#options;
    let mayBeShown = false;
    try {
      const chunkBytes = Math.min(CHUNK_BYTES, nats.info?.max_payload ?? CHUNK_BYTES);
      const subject = this.#chunkSubject(id);
      const written = await writeChunks(content, { nats, session, subject, chunkBytes, signal });
      const meta = { name, bucket, nuid: id, headers: options.headers, chunkBytes, ...written };
      const rollup = messageHeaders();
      rollup.set("Nats-Rollup", "sub");
      signal.throwIfAborted();
      mayBeShown = true;
      await untilAborted(store(nats, this.#metaSubject(name), encodeObjectMeta(meta), rollup), signal);
    } catch (error) {
      // A message about the object whose answer was lost may still arrive.
      if (!mayBeShown) await this.#purge(manager, this.#chunkSubject(id)).catch(() => {});
      throw error;
    }
    // It is no longer spoken of; what stays of it for now is removed as abandoned.
    if (old !== undefined) await this.#purge(manager, this.#chunkSubject(old.meta.nuid)).catch(() => {});
  }

  /** The object and its bytes, checked against its digest at their end; undefined where there is none. */
  async open(
    name: string,
    outerSignal: AbortSignal,
  ): Promise<{ object: BucketObject; content: AsyncGenerator<Uint8Array, void, void> } | undefined> {
    const signal = this.#while(outerSignal);
    const manager = await this.#open(signal);
    const found = await this.#meta(manager, { name, signal });
    if (found === undefined) return undefined;
    const { meta } = found;
    const subject = this.#chunkSubject(meta.nuid);
    const { nats } = this.#options.connection;
    const content = readChunks({ nats, manager, stream: this.#stream, subject, meta, signal });
    return { object: describe(found), content };
  }

  async list(outerSignal: AbortSignal): Promise<BucketObject[]> {
    const signal = this.#while(outerSignal);
    const manager = await this.#open(signal);
    return (await this.#metas(manager, signal)).map(describe);
  }

  /** Leaves no trace of the object, in place of the library's note that it was deleted. */
  async delete(name: string, outerSignal: AbortSignal): Promise<void> {
    const signal = this.#while(outerSignal);
    const manager = await this.#open(signal);
    const found = await this.#meta(manager, { name, signal });
    if (found === undefined) return;
    await untilAborted(this.#purge(manager, this.#metaSubject(name)), signal);
    await untilAborted(this.#purge(manager, this.#chunkSubject(found.meta.nuid)), signal);
  }

  /** Removes chunks that no object speaks of and whose last one is that old by the server's clock. */
  async removeAbandoned(olderThanMs: number, outerSignal: AbortSignal): Promise<void> {
    const signal = this.#while(outerSignal);
    const manager = await this.#open(signal);
    const { subjects, now } = await this.#subjects(manager, { pattern: this.#chunkSubject(">"), signal });
    if (subjects.length === 0) return;
    // Looked at after the chunks: what was completed in between is among them.
    const used = new Set(
      (await this.#metas(manager, signal)).map(({ meta }) => this.#chunkSubject(meta.nuid)),
    );
    for (const subject of subjects) {
      if (used.has(subject)) continue;
      const last = manager.streams.getMessage(this.#stream, { last_by_subj: subject });
      const message = await untilAborted(last, signal);
      if (message === null || now.getTime() - message.time.getTime() < olderThanMs) continue;
      await untilAborted(this.#purge(manager, subject), signal);
    }
  }

  get #stream(): string {
    return `OBJ_${this.#options.bucket}`;
  }

  /** Object names are encoded, because subjects can't hold every character. */
  #metaSubject(name: string): string {
    const encoded = new TextEncoder().encode(name).toBase64({ alphabet: "base64url" });
    return `$O.${this.#options.bucket}.M.${encoded}`;
  }

  #chunkSubject(id: string): string {
    return `$O.${this.#options.bucket}.C.${id}`;
  }

  /** Aborts with the signal and when the connection is lost: then no answer will come. */
  #while(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#options.connection.session]);
  }

  async #open(signal: AbortSignal): Promise<JetStreamManager> {
    signal.throwIfAborted();
    const settings = { timeout: REQUEST_TIMEOUT_MS, checkAPI: false };
    this.#manager ??= jetstreamManager(this.#options.connection.nats, settings);
    return await untilAborted(this.#manager, signal);
  }

  async #makeStream(manager: JetStreamManager, signal: AbortSignal): Promise<void> {
    if (await untilAborted(undefinedIfMissing(manager.streams.info(this.#stream)), signal)) return;
    const { bucket, replicas } = this.#options;
    const adding = manager.streams.add({
      name: this.#stream,
      description: "Bucket to store snapshot",
      subjects: [this.#chunkSubject(">"), `$O.${bucket}.M.>`],
      retention: "limits",
      storage: "file",
      discard: "new",
      num_replicas: replicas,
      allow_rollup_hdrs: true,
      allow_direct: true,
    }).catch((error) => {
      // Another node has made it in this moment.
      if (!(error instanceof JetStreamApiError) || error.code !== ApiCode.nameInUse) throw error;
    });
    await untilAborted(adding, signal);
  }

  /** Undefined where there is no such object, or no bucket. Throws where the message about it can't be read. */
  async #meta(
    manager: JetStreamManager,
    { name, signal }: { name: string; signal: AbortSignal },
  ): Promise<FoundObject | undefined> {
    return await this.#metaAt(manager, { subject: this.#metaSubject(name), signal });
  }

  async #metaAt(
    manager: JetStreamManager,
    { subject, signal }: { subject: string; signal: AbortSignal },
  ): Promise<FoundObject | undefined> {
    const asking = undefinedIfMissing(manager.streams.getMessage(this.#stream, { last_by_subj: subject }));
    const message = await untilAborted(asking, signal);
    if (message === undefined || message === null) return undefined;
    const meta = parseObjectMeta(message.data);
    if (meta === "deleted") return undefined;
    if (meta === undefined) {
      throw new MarmotError("snapshot", "what the bucket says of it can't be understood");
    }
    return { meta, modifiedAt: message.time };
  }

  async #metas(manager: JetStreamManager, signal: AbortSignal): Promise<FoundObject[]> {
    const pattern = `$O.${this.#options.bucket}.M.>`;
    const { subjects } = await this.#subjects(manager, { pattern, signal });
    const found: FoundObject[] = [];
    for (const subject of subjects) {
      const meta = await this.#metaAt(manager, { subject, signal });
      if (meta !== undefined) found.push(meta);
    }
    return found;
  }

  async #subjects(
    manager: JetStreamManager,
    { pattern, signal }: { pattern: string; signal: AbortSignal },
  ): Promise<{ subjects: string[]; now: Date }> {
    const asking = undefinedIfMissing(manager.streams.info(this.#stream, { subjects_filter: pattern }));
    const info = await untilAborted(asking, signal);
    // Servers before 2.10 do not tell their time.
    const time = (info as { ts?: string } | undefined)?.ts;
    return {
      subjects: Object.keys(info?.state.subjects ?? {}),
      now: time === undefined ? new Date() : new Date(time),
    };
  }

  async #purge(manager: JetStreamManager, subject: string): Promise<void> {
    await undefinedIfMissing(manager.streams.purge(this.#stream, { filter: subject }));
  }
}

interface FoundObject {
  readonly meta: ObjectMeta;
  readonly modifiedAt: Date;
}

function describe({ meta, modifiedAt }: FoundObject): BucketObject {
  const { name, sizeBytes, headers } = meta;
  return { name, sizeBytes, headers, modifiedAt };
}

async function undefinedIfMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === ApiCode.streamNotFound) return undefined;
    throw error;
  }
}
