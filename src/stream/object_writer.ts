/** Writes the chunks of an object to its bucket's stream, many under way at a time. */
import type { MsgHdrs, NatsConnection } from "@nats-io/nats-core";
import { createHash } from "node:crypto";
import { REQUEST_TIMEOUT_MS, untilAborted } from "./connection.ts";

/** Chunks that are under way at a time: 2 MiB. */
const WINDOW = 16;

export interface WriteOptions {
  readonly nats: NatsConnection;
  /** Aborts when the connection is lost. */
  readonly session: AbortSignal;
  readonly subject: string;
  readonly chunkBytes: number;
  readonly signal: AbortSignal;
}

export interface WrittenChunks {
  readonly sizeBytes: number;
  readonly chunks: number;
  readonly sha256: Uint8Array;
}

/**
 * Resolves once the server has stored all of it. Rejects with what the content, the server or the signal says, and not before
 * the outcome of each chunk is known: what is purged then does not come back.
 */
export async function writeChunks(
  content: AsyncIterable<Uint8Array>,
  { nats, session, subject, chunkBytes, signal }: WriteOptions,
): Promise<WrittenChunks> {
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
      const storing = store(nats, subject, chunk);
      // Looked at when its turn comes.
      storing.catch(() => {});
      underWay.push(storing);
      if (underWay.length >= WINDOW) await settle();
    }
    while (underWay.length > 0) await settle();
  } catch (error) {
    // The server may purge before it stores what was sent before.
    await untilAborted(Promise.allSettled(underWay), session).catch((reason) => {
      if (!session.aborted) throw reason;
    });
    throw error;
  }
  return { sizeBytes, chunks, sha256: new Uint8Array(hash.digest()) };
}

/** The message's sequence once the server has stored it. Sent once only: a second time could come late. */
export async function store(
  nats: NatsConnection,
  subject: string,
  payload: Uint8Array,
  headers?: MsgHdrs,
): Promise<number> {
  const options = { timeout: REQUEST_TIMEOUT_MS, ...(headers === undefined ? {} : { headers }) };
  const message = await nats.request(subject, payload, options);
  const answer = message.json<{ seq?: number; error?: { description: string } }>();
  if (answer.error === undefined && typeof answer.seq === "number") return answer.seq;
  throw new Error(answer.error?.description ?? "the NATS server has not stored it");
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
