/** The snapshot store as commands use it: opened for one purpose, with a connection to NATS where one is needed. */
import process from "node:process";
import { openSnapshotStore } from "../../snapshot/open_snapshot_store.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import type { SnapshotPlace } from "../../snapshot/snapshot_url.ts";
import { type Connection, connectSoon } from "../../stream/connection.ts";

export interface StoreAccessOptions {
  readonly natsUrls: readonly string[];
  readonly streamPrefix: string;
  readonly snapshotUrl: SnapshotPlace;
  readonly logReplicas: number;
}

/** Opens the store over a connection that the caller has, or gets when the store needs one. */
export async function openStore(
  { snapshotUrl, streamPrefix, logReplicas }: Omit<StoreAccessOptions, "natsUrls">,
  connection: () => Promise<Connection>,
): Promise<SnapshotStore> {
  return await openSnapshotStore(snapshotUrl, {
    environment: process.env,
    nats: async () => ({ connection: await connection(), streamPrefix, replicas: logReplicas }),
  });
}

/** Opens the store for the work, and closes it. Connects when somebody asks for the connection. Throws MarmotError. */
export async function withStore<T>(
  options: StoreAccessOptions & { stop: AbortSignal },
  work: (store: SnapshotStore, connection: () => Promise<Connection>) => Promise<T>,
): Promise<T> {
  let connecting: Promise<Connection> | undefined;
  const connection = () =>
    connecting ??= connectSoon({
      urls: options.natsUrls,
      stop: options.stop,
      hint: "Check -nats-url, and that the server runs.",
    });
  try {
    const store = await openStore(options, connection);
    try {
      return await work(store, connection);
    } finally {
      await store.close();
    }
  } finally {
    await connecting?.then((made) => made.close(), () => {});
  }
}
