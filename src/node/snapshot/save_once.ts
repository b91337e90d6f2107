/**
 * Saves one snapshot and ends, beside a running node or without one. The database is only read, and no node id is taken:
 * what is not published yet is left to the node that runs on it.
 */
import { realpathSync } from "node:fs";
import project from "../../../deno.json" with { type: "json" };
import { DatabaseBusyError, MarmotError } from "../../errors.ts";
import { openDatabaseReadOnly } from "../../db/open_database.ts";
import { fileIdentity } from "../../db/replica_identity.ts";
import { countPending } from "../../db/snapshot/copy_facts.ts";
import { hasStateTables } from "../../db/state/state_tables.ts";
import type { Log } from "../../observability/log.ts";
import { systemClock } from "../../runtime/clock.ts";
import type { SnapshotEntry } from "../../snapshot/manifest.ts";
import { KvNodeClaims } from "../../stream/kv_node_claims.ts";
import { readStreamStates } from "../../stream/stream_states.ts";
import { isOfSameFile } from "../claim_policy.ts";
import { describeMachine } from "../machine.ts";
import { type OnProgress, SnapshotSaver } from "./snapshot_saver.ts";
import { type StoreAccessOptions, withStore } from "./store_access.ts";
import { removeAbandoned } from "./temporary_files.ts";

const BUSY_TIMEOUT_MS = 5000;
const PENDING_MS = 60_000;

export interface SaveOnceOptions extends StoreAccessOptions {
  readonly dbPath: string;
  readonly wireFormat: "batch" | "v0.6";
  readonly log: Log;
  readonly stop: AbortSignal;
  readonly onProgress?: OnProgress;
}

/** Throws MarmotError where no snapshot can be saved. */
export async function saveSnapshotOnce(options: SaveOnceOptions): Promise<SnapshotEntry> {
  const { dbPath, log, stop } = options;
  const connection = openDatabaseReadOnly(dbPath, BUSY_TIMEOUT_MS);
  try {
    if (!hasStateTables(connection)) {
      throw new MarmotError(
        "snapshot",
        `Cannot save a snapshot of "${dbPath}": Marmot has not replicated it yet`,
        {
          hint: "Start Marmot on it first: a snapshot tells how far the streams were applied.",
        },
      );
    }
    removeAbandoned(dbPath);
    return await withStore(options, async (store, nats) => {
      const pending = countPending(connection, Number.MAX_SAFE_INTEGER);
      if (pending > 0 && !await isNodeRunning(options, nats)) {
        throw new MarmotError(
          "snapshot",
          `Cannot save a snapshot of "${dbPath}": ${pending} of its changes are not published, and no node runs on it`,
          { hint: "Start the node, and save beside it." },
        );
      }
      const saver = new SnapshotSaver({
        ...options,
        store,
        countPending: (upTo) => countPatiently(() => countPending(connection, upTo)),
        streamStates: async (names) => await readStreamStates(await nats(), names),
        pendingMs: PENDING_MS,
        clock: systemClock,
        log,
      });
      return await saver.save(stop);
    });
  } finally {
    connection.close();
  }
}

/** While the file is locked nothing is known: at least one. */
function countPatiently(count: () => number): number {
  try {
    return count();
  } catch (error) {
    if (error instanceof DatabaseBusyError) return 1;
    throw error;
  }
}

async function isNodeRunning(
  { dbPath, streamPrefix, logReplicas, log }: SaveOnceOptions,
  nats: Parameters<Parameters<typeof withStore>[1]>[1],
): Promise<boolean> {
  const claims = new KvNodeClaims({ connection: await nats(), streamPrefix, replicas: logReplicas, log });
  const self = {
    machine: describeMachine(),
    path: realpathSync(dbPath),
    file: fileIdentity(dbPath) ?? "",
    version: project.version,
  };
  return (await claims.all()).some(({ claim }) => isOfSameFile(claim, self));
}
