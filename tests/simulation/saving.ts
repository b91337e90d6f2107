/**
 * One life of a node that saves snapshots: the very saver and the very rule when to save, on virtual time. What takes
 * long in a Worker is done in a moment here, and its outcome comes later.
 */
import type { Replica } from "../../src/db/replica.ts";
import { countPending } from "../../src/db/snapshot/copy_facts.ts";
import { errorText, MarmotError } from "../../src/errors.ts";
import type { Node } from "../../src/node/node.ts";
import { AutomaticSaves } from "../../src/node/snapshot/automatic_saves.ts";
import type { SavedSnapshots } from "../../src/node/snapshot/late_merge.ts";
import { savedSnapshots } from "../../src/node/snapshot/saved_snapshots.ts";
import { SnapshotGate } from "../../src/node/snapshot/snapshot_gate.ts";
import { SnapshotSaver } from "../../src/node/snapshot/snapshot_saver.ts";
import { silentLog } from "../../src/observability/log.ts";
import { readManifest } from "../../src/snapshot/snapshot_catalog.ts";
import type { MemorySnapshots } from "./memory_snapshots.ts";
import type { MemoryStreams } from "./memory_streams.ts";
import type { Random } from "./random.ts";
import { doAtOnce, type SnapshotPorts, snapshotPorts } from "./snapshot_ports.ts";
import type { Life } from "./virtual_time.ts";

const NEVER = new AbortController().signal;

export interface SavingParts {
  readonly dbPath: string;
  readonly replica: Replica;
  readonly snapshots: MemorySnapshots;
  readonly streams: MemoryStreams;
  readonly life: Life;
  readonly random: Random;
  /** How far the node has read a shard's stream, for checks. */
  readonly cursorOf: (shard: number) => number;
  /** How long what is pending in a copy may take. */
  readonly pendingMs: number;
  /** Told what came of a save that was asked for. */
  readonly say: (text: string) => void;
  /** Told of an error that no network and no operator makes. */
  readonly onFailure: (error: unknown) => void;
}

export class Saving {
  readonly gate: SnapshotGate;
  /** Where the node finds snapshots when it has missed messages. */
  readonly saved: SavedSnapshots;
  /** The object that was fetched last for that. */
  fetched = "";
  readonly #parts: SavingParts;
  readonly #ports: SnapshotPorts;
  #asked = new AbortController();
  #saves = 0;

  constructor(parts: SavingParts) {
    this.#parts = parts;
    this.gate = new SnapshotGate({ log: silentLog, clock: parts.life });
    const { streams, cursorOf } = parts;
    this.#ports = snapshotPorts({
      ...parts,
      cursors: () => Array.from({ length: streams.shards }, (_, i) => cursorOf(i + 1)),
    });
    const { store, onFiles } = this.#ports;
    const saved = savedSnapshots({ store, dbPath: parts.dbPath, onFiles, doJob: doAtOnce });
    this.saved = {
      list: async (signal) =>
        (await saved.list(signal)).map((snapshot) =>
          "unusable" in snapshot ? snapshot : {
            ...snapshot,
            fetch: (options) => {
              this.fetched = snapshot.name;
              return snapshot.fetch(options);
            },
          }
        ),
    };
  }

  /** Saves by the rule from now on. */
  runAutomatically(node: Pick<Node, "cursors">): void {
    const { replica, streams: { maxMessages, shards }, random } = this.#parts;
    const { store, streamNames, streamStates, clock } = this.#ports;
    const saves = new AutomaticSaves({
      holder: String(replica.nodeId),
      maxLogEntries: Math.min(maxMessages, 60) * shards,
      streamNames,
      streamStates,
      readManifest: (signal) => readManifest(store, { signal }),
      save: (signal) =>
        this.#saver((isWaiting) => void (this.gate.isOpen = isWaiting)).save(signal).catch((error) => {
          this.#judge(error);
          throw error;
        }),
      canSave: () =>
        replica.tables.all().length > 0 && node.cursors().every(({ cursor }) => cursor !== undefined),
      leases: store,
      gate: this.gate,
      clock,
      random: random.next,
      log: silentLog,
    });
    saves.run(NEVER).catch((error) => this.#judge(error));
  }

  /** Saves once, as the operator's command beside a running node. */
  save(): void {
    const { say } = this.#parts;
    const { signal } = this.#asked;
    this.#saves++;
    this.#saver().save(signal).then(
      ({ createdAtMs }) => say(`has saved the snapshot of ${createdAtMs % 1_000_000}`),
      (error) => {
        if (signal.aborted && error === signal.reason) return;
        say(`saves no snapshot: ${errorText(error)}`);
        this.#judge(error);
      },
    ).finally(() => this.#saves--);
  }

  /** The same, unless the operator's last command is still at it. */
  saveUnlessSaving(): void {
    if (this.#saves === 0) this.save();
  }

  /** The operator ends the command. */
  giveUp(): void {
    this.#asked.abort();
    this.#asked = new AbortController();
  }

  #saver(onWaiting?: (isWaiting: boolean) => void): SnapshotSaver {
    const { dbPath, replica, pendingMs } = this.#parts;
    const { store, streamStates, clock, doJob } = this.#ports;
    return new SnapshotSaver({
      dbPath,
      store,
      wireFormat: "batch",
      countPending: (upTo) => countPending(replica.connection, upTo),
      streamStates,
      pendingMs,
      ...onWaiting ? { onWaiting } : {},
      clock,
      log: silentLog,
      doJob,
    });
  }

  #judge(error: unknown): void {
    const { life, onFailure } = this.#parts;
    const isForeseen = error instanceof MarmotError && error.code !== "internal";
    const isNetwork = error instanceof Error && error.message === "no connection";
    if (!life.isOver && !isForeseen && !isNetwork) onFailure(error);
  }
}
