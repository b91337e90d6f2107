import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { silentLog } from "../../src/observability/log.ts";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { NatsStore } from "../../src/snapshot/stores/nats_store.ts";
import { connect, type Connection } from "../../src/stream/connection.ts";
import type { BucketConnection } from "../../src/stream/object_bucket.ts";
import { NatsServer } from "../support/nats_server.ts";
import { testStoreContract } from "./store_contract.ts";

const GOLDEN = new URL("../golden/snapshot_v06/", import.meta.url);

testStoreContract("a NATS bucket", async () => {
  const server = await NatsServer.start();
  const connections: Connection[] = [];
  const connectAt = async (port: number) => {
    const connection = await connectTo(`nats://127.0.0.1:${port}`);
    connections.push(connection);
    return connection;
  };
  const manager = await jetstreamManager((await connectAt(server.port)).nats);
  return {
    largeBytes: 3_000_001,
    port: server.port,
    isConnected: true,
    async open({ place, port = server.port, stallMs }) {
      const connection = await connectAt(port);
      return new CheckedStore(new NatsStore({ connection, streamPrefix: place, replicas: 1 }), { stallMs });
    },
    writerArguments: (place, bytes) => ["nats://", String(bytes), server.url, place],
    residue: (place) => storedSubjects(manager, place),
    async truncate(place, name) {
      const subject = (await storedSubjects(manager, place)).find((subject) => subject.includes(".C."));
      assert.ok(subject !== undefined, name);
      const last = await manager.streams.getMessage(`OBJ_${place}-snapshot-store`, { last_by_subj: subject });
      await manager.streams.deleteMessage(`OBJ_${place}-snapshot-store`, last!.seq);
    },
    async [Symbol.asyncDispose]() {
      for (const connection of connections) await connection.close();
      await server[Symbol.asyncDispose]();
    },
  };
});

function connectTo(url: string): Promise<Connection> {
  const { signal } = new AbortController();
  return connect({ urls: [url], nodeId: 7n, log: silentLog, signal, random: Math.random });
}

/** Each subject once, in the order of names. */
async function storedSubjects(manager: JetStreamManager, place: string): Promise<string[]> {
  const stream = `OBJ_${place}-snapshot-store`;
  const info = await manager.streams.info(stream, { subjects_filter: ">" });
  return Object.keys(info.state.subjects ?? {}).sort();
}

Deno.test("a bucket that the original has filled is read, and an object of ours stands as the original's does", async () => {
  await using server = await NatsServer.start();
  const connection = await connectTo(server.url);
  try {
    const golden = JSON.parse(await readFile(new URL("snapshot_v06.json", GOLDEN), "utf8"));
    const database = await readFile(new URL("snapshot.db", GOLDEN));
    const manager = await jetstreamManager(connection.nats);
    const { name, description, subjects, discard, allow_rollup_hdrs } = golden.streamConfigAsStored;
    await manager.streams.add({ name, description, subjects, discard, allow_rollup_hdrs });
    await connection.nats.request(golden.chunkMessages[0].subject, database);
    await connection.nats.request(golden.metaMessage.subject, golden.metaMessage.dataText);

    const place = { connection, streamPrefix: "marmot-changes", replicas: 1 };
    const store = new CheckedStore(new NatsStore(place));
    assert.deepEqual((await store.list()).map(({ name, sizeBytes }) => [name, sizeBytes]), [
      ["snapshot.db", database.length],
    ]);
    const hash = createHash("sha256");
    for await (const chunk of (await store.get("snapshot.db"))!.content) hash.update(chunk);
    assert.equal(hash.digest("hex"), golden.sha256);

    await store.put("snapshot.db", ReadableStream.from([new Uint8Array(database)]), {
      headers: { "marmot-snapshot-tag": golden.fnv1Hex },
    });
    const stored = await manager.streams.getMessage(name, { last_by_subj: golden.metaMessage.subject });
    const { nuid: _, mtime: __, ...ours } = stored!.json<Record<string, unknown>>();
    const { nuid: ___, mtime: ____, ...theirs } = JSON.parse(golden.metaMessage.dataText);
    assert.deepEqual(ours, theirs);
    assert.equal((await manager.streams.info(name)).state.messages, 2);
  } finally {
    await connection.close();
  }
});

Deno.test("content that fails leaves no chunk behind, though the server stores the last ones late", async () => {
  await using server = await NatsServer.start();
  const connection = await connectTo(server.url);
  try {
    const { nats } = connection;
    let isStored = Promise.resolve();
    // A server purges at once what it is told to, and stores messages when their turn comes.
    const slow: NatsConnection = Object.create(nats, {
      info: { get: () => nats.info },
      request: {
        async value(...[subject, payload, options]: Parameters<NatsConnection["request"]>) {
          if (subject.includes(".C.")) await (isStored = delay(200));
          return await nats.request(subject, payload, options);
        },
      },
    });
    // As with the real one, what it has is not its own properties.
    const slowConnection: BucketConnection = Object.create({ nats: slow, session: connection.session });
    const store = new NatsStore({ connection: slowConnection, streamPrefix: "place", replicas: 1 });
    const manager = await jetstreamManager(nats);
    for (const outcome of ["fails", "is given up"]) {
      const stop = new AbortController();
      const reason = new Error(outcome);
      const content = async function* () {
        yield new Uint8Array(1_000_000);
        if (outcome === "is given up") stop.abort(reason);
        throw reason;
      };
      const writing = store.write("object", content(), { headers: {}, signal: stop.signal });
      await assert.rejects(writing, (error) => error === reason);
      await isStored;
      assert.deepEqual(await storedSubjects(manager, "place"), [], outcome);
    }
  } finally {
    await connection.close();
  }
});
