/** The snapshot store as commands use it: opened for one purpose, with a connection to NATS where one is needed. */
import process from "node:process";
import { MarmotError } from "../../errors.ts";
import { silentLog } from "../../observability/log.ts";
import { openSnapshotStore } from "../../snapshot/open_snapshot_store.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import type { SnapshotPlace } from "../../snapshot/snapshot_url.ts";
import { connect, type Connection } from "../../stream/connection.ts";

const CONNECT_MS = 10_000;

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
  const connection = () => connecting ??= connectSoon(options);
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

async function connectSoon(
  { natsUrls, stop }: StoreAccessOptions & { stop: AbortSignal },
): Promise<Connection> {
  const late = AbortSignal.timeout(CONNECT_MS);
  const signal = AbortSignal.any([stop, late]);
  try {
    return await connect({ urls: natsUrls, nodeId: 0n, log: silentLog, signal, random: Math.random });
  } catch (error) {
    if (stop.aborted || !late.aborted || error instanceof MarmotError) throw error;
    throw new MarmotError("broker", `Cannot connect to NATS within ${CONNECT_MS / 1000} s`, {
      hint: "Check -nats-url, and that the server runs.",
      cause: error,
    });
  }
}
