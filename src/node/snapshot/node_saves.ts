/** Automatic saves of a running node, put together from its parts. */
import type { Config } from "../../config/config.ts";
import type { Replica } from "../../db/replica.ts";
import { countPending } from "../../db/snapshot/copy_facts.ts";
import type { Log } from "../../observability/log.ts";
import { systemClock } from "../../runtime/clock.ts";
import { readManifest } from "../../snapshot/snapshot_catalog.ts";
import type { SnapshotStore } from "../../snapshot/snapshot_store.ts";
import type { Connection } from "../../stream/connection.ts";
import { streamName } from "../../stream/names.ts";
import { readStreamStates } from "../../stream/stream_states.ts";
import type { Node } from "../node.ts";
import { AutomaticSaves, type Leases } from "./automatic_saves.ts";
import type { SnapshotGate } from "./snapshot_gate.ts";
import { SnapshotSaver } from "./snapshot_saver.ts";

const PENDING_MS = 60_000;

export interface NodeSavesParts {
  readonly config: Config;
  readonly replica: Replica;
  readonly connection: Connection;
  readonly store: SnapshotStore;
  readonly leases: Leases;
  readonly gate: SnapshotGate;
  readonly log: Log;
}

export function automaticSaves(node: Pick<Node, "cursors">, parts: NodeSavesParts): AutomaticSaves {
  const { config, replica, connection, store, leases, gate, log } = parts;
  const streamStates = (names: readonly string[]) => readStreamStates(connection, names);
  const saver = new SnapshotSaver({
    dbPath: config.dbPath,
    store,
    wireFormat: config.wireFormat,
    countPending: (upTo) => countPending(replica.connection, upTo),
    streamStates,
    pendingMs: PENDING_MS,
    onWaiting: (isWaiting) => void (gate.isOpen = isWaiting),
    clock: systemClock,
    log,
  });
  const isUpToDate = () => node.cursors().every(({ cursor }) => cursor !== undefined);
  return new AutomaticSaves({
    holder: replica.nodeId.toString(),
    maxLogEntries: config.maxLogEntries,
    streamNames: Array.from({ length: config.shards }, (_, i) => streamName(config, i + 1)),
    streamStates,
    readManifest: (signal) => readManifest(store, { signal }),
    save: (signal) => saver.save(signal),
    canSave: () => replica.tables.all().length > 0 && isUpToDate(),
    leases,
    gate,
    clock: systemClock,
    random: Math.random,
    log,
  });
}
