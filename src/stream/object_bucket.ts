/**
 * A bucket of NATS's object store: a stream that holds objects in chunks, and a message about each object. The
 * client library has one too, but it keeps an object that is read faster than it is used in memory without bound,
 * and it waits for every chunk it writes. Invariant: the message about an object is sent only after the server
 * has taken all of its chunks, and nothing of an object is removed that such a message may speak of.
 * Source: NATS ADR-20, "JetStream based object stores".
 */

import { JetStreamApiError, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { headers as messageHeaders, type MsgHdrs, type NatsConnection } from "@nats-io/nats-core";
import { createHash } from "node:crypto";
import { MarmotError } from "../errors.ts";
import { ApiCode } from "./broker_errors.ts";
import { REQUEST_TIMEOUT_MS, untilAborted } from "./connection.ts";
import { encodeObjectMeta, type ObjectMeta, parseObjectMeta } from "./object_meta.ts";
import { readChunks } from "./object_reader.ts";

/** As the original's; a server may allow less. */
const CHUNK_BYTES = 128 * 1024;
/** Chunks that are under way at a time: 2 MiB. */
const WINDOW = 16;

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
    let mayBeShown = false;
    try {
      const chunkBytes = Math.min(
        CHUNK_BYTES,
        this.#options.connection.nats.info?.max_payload ?? CHUNK_BYTES,
      );
      const written = await this.#putChunks(id, { content, chunkBytes, signal });
      const { bucket } = this.#options;
      const meta = { name, bucket, nuid: id, headers: options.headers, chunkBytes, ...written };
      const rollup = messageHeaders();
      rollup.set("Nats-Rollup", "sub");
      signal.throwIfAborted();
      mayBeShown = true;
      await untilAborted(this.#publish(this.#metaSubject(name), encodeObjectMeta(meta), rollup), signal);
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

  async #putChunks(
    id: string,
    { content, chunkBytes, signal }: {
      content: AsyncIterable<Uint8Array>;
      chunkBytes: number;
      signal: AbortSignal;
    },
  ): Promise<{ sizeBytes: number; chunks: number; sha256: Uint8Array }> {
    const hash = createHash("sha256");
    const underWay: Promise<number>[] = [];
    let [sizeBytes, chunks, lastSequence] = [0, 0, 0];
    const settle = async () => {
      const sequence = await untilAborted(underWay[0]!, signal);
      underWay.shift();
      // The order in the stream is the order of the bytes.
      if (sequence <= lastSequence) throw new Error("the NATS server has changed the order of the chunks");
      lastSequence = sequence;
    };
    try {
      for await (const chunk of inChunks(content, chunkBytes)) {
        hash.update(chunk);
        sizeBytes += chunk.length;
        chunks++;
        const publishing = this.#publish(this.#chunkSubject(id), chunk);
        // Looked at when its turn comes.
        publishing.catch(() => {});
        underWay.push(publishing);
        if (underWay.length >= WINDOW) await settle();
      }
      while (underWay.length > 0) await settle();
    } catch (error) {
      // The server may purge before it stores what was sent before: that would stay.
      await untilAborted(Promise.allSettled(underWay), this.#options.connection.session).catch(() => {});
      throw error;
    }
    return { sizeBytes, chunks, sha256: new Uint8Array(hash.digest()) };
  }

  /** The message's sequence once the server has stored it. Sent once only: a second time could come late. */
  async #publish(subject: string, payload: Uint8Array, headers?: MsgHdrs): Promise<number> {
    const options = { timeout: REQUEST_TIMEOUT_MS, ...(headers === undefined ? {} : { headers }) };
    const message = await this.#options.connection.nats.request(subject, payload, options);
    const answer = message.json<{ seq?: number; error?: { description: string } }>();
    if (answer.error === undefined && typeof answer.seq === "number") return answer.seq;
    throw new Error(answer.error?.description ?? "the NATS server has not stored it");
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

/** The same bytes in chunks of one size; the last may be smaller. */
async function* inChunks(
  content: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Uint8Array, void, void> {
  // A chunk that is under way belongs to the library: each has memory of its own.
  let chunk = new Uint8Array(size);
  let filled = 0;
  for await (const bytes of content) {
    for (let taken = 0; taken < bytes.length;) {
      const piece = bytes.subarray(taken, taken + size - filled);
      chunk.set(piece, filled);
      filled += piece.length;
      taken += piece.length;
      if (filled < size) continue;
      yield chunk;
      chunk = new Uint8Array(size);
      filled = 0;
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled);
}
