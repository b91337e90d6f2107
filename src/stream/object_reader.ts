/**
 * Reads the chunks of one object through a pull consumer, a few at a time: what is not asked for stays on the
 * server. Invariant: ends without an error only after all bytes, in order, that the object's digest speaks of.
 */

import { AckPolicy, DeliverPolicy, jetstream, type JetStreamManager, type JsMsg } from "@nats-io/jetstream";
import { nanos, type NatsConnection } from "@nats-io/nats-core";
import { createHash, timingSafeEqual } from "node:crypto";
import { MarmotError } from "../errors.ts";
import { untilAborted } from "./connection.ts";
import type { ObjectMeta } from "./object_meta.ts";

/** What is asked for at a time, unless one chunk is larger. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** How long the server waits for a chunk that is not there. */
const REQUEST_EXPIRES_MS = 3_000;
/** The server forgets the consumer of a node that went away. */
const INACTIVE_THRESHOLD_MS = 120_000;

export interface ChunkReaderOptions {
  readonly nats: NatsConnection;
  readonly manager: JetStreamManager;
  readonly stream: string;
  readonly subject: string;
  readonly meta: ObjectMeta;
  readonly signal: AbortSignal;
}

/** The object's bytes. Throws where chunks are missing or not those that were written. */
export async function* readChunks(options: ChunkReaderOptions): AsyncGenerator<Uint8Array, void, void> {
  const { nats, manager, stream, subject, meta, signal } = options;
  const hash = createHash("sha256");
  if (meta.chunks > 0) {
    const adding = manager.consumers.add(stream, {
      filter_subject: subject,
      deliver_policy: DeliverPolicy.All,
      ack_policy: AckPolicy.None,
      max_deliver: 1,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: nanos(INACTIVE_THRESHOLD_MS),
    });
    const { name } = await untilAborted(adding, signal);
    try {
      const consumer = await untilAborted(jetstream(nats).consumers.get(stream, name), signal);
      const batch = Math.max(1, Math.floor(BATCH_BYTES / meta.chunkBytes));
      for (let count = 0; count < meta.chunks;) {
        const before = count;
        const wanted = Math.min(batch, meta.chunks - count);
        const fetching = consumer.fetch({ max_messages: wanted, expires: REQUEST_EXPIRES_MS });
        const messages = await untilAborted(fetching, signal);
        const iterator: AsyncIterator<JsMsg> = messages[Symbol.asyncIterator]();
        try {
          for (;;) {
            const step = await untilAborted(iterator.next(), signal);
            if (step.done) break;
            const { data, info } = step.value;
            if (info.deliverySequence !== ++count) throw lost("a chunk was passed over");
            hash.update(data);
            yield data;
          }
        } finally {
          messages.stop();
        }
        if (count === before) throw lost("its chunks are gone, it was replaced or deleted meanwhile");
      }
    } finally {
      // Without a connection the server removes it by itself.
      manager.consumers.delete(stream, name).catch(() => {});
    }
  }
  if (!timingSafeEqual(hash.digest(), meta.sha256)) throw lost("its bytes are not those of its digest");
}

function lost(reason: string): MarmotError {
  return new MarmotError("snapshot", reason);
}
