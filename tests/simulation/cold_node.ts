/** A node without a database: a process that takes a snapshot, as often as it is started, until its file is in place. */
import { join } from "node:path";
import { lookAtDatabase } from "../../src/db/snapshot/place_database.ts";
import { errorText, MarmotError } from "../../src/errors.ts";
import { takeNewest } from "../../src/node/snapshot/take_snapshot.ts";
import { removeAbandoned } from "../../src/node/snapshot/temporary_files.ts";
import { silentLog } from "../../src/observability/log.ts";
import type { MemorySnapshots } from "./memory_snapshots.ts";
import type { MemoryServer } from "./memory_server.ts";
import { MemoryStreams } from "./memory_streams.ts";
import type { Random } from "./random.ts";
import { doAtOnce, snapshotPorts } from "./snapshot_ports.ts";
import { Life, type VirtualTime } from "./virtual_time.ts";

export interface ColdNodeParts {
  readonly folder: string;
  readonly time: VirtualTime;
  readonly server: MemoryServer;
  readonly snapshots: MemorySnapshots;
  readonly random: Random;
  readonly distance: number;
  readonly say: (text: string) => void;
  /** Called when the file is in place, with the object that it came from. */
  readonly onArrived: (object: string) => void;
}

export class ColdNode {
  streams: MemoryStreams | undefined;
  /** What no network and no operator does. */
  failure: unknown;
  /** Where each stream began when the process that took the snapshot did, shard 1 first: what is older can be of no use. */
  firstSequences: readonly number[] = [];
  readonly #parts: ColdNodeParts;
  #life: Life | undefined;
  /** What was taken last. */
  #object = "";

  constructor(readonly id: number, parts: ColdNodeParts) {
    this.#parts = parts;
  }

  get isAlive(): boolean {
    return this.#life !== undefined && !this.#life.isOver;
  }

  start(): void {
    const { folder, time, server, distance, say, onArrived } = this.#parts;
    const life = this.#life = new Life(time);
    const streams = this.streams = new MemoryStreams(server, life, distance);
    const path = join(folder, `node-${this.id}.db`);
    removeAbandoned(path);
    if (lookAtDatabase(path) !== "occupied") {
      this.firstSequences = Array.from(
        { length: server.shards },
        (_, i) => server.describe(i + 1).firstSequence,
      );
    }
    this.#take(path, { life, streams }).then(() => {
      life.isOver = true;
      onArrived(this.#object);
    }, (error) => {
      life.isOver = true;
      say(`cannot begin: ${errorText(error)}`);
      if (!(error instanceof MarmotError) || error.code !== "snapshot") this.failure = error;
    });
  }

  /** Ends the process between two of its steps, as SIGKILL does. */
  crash(): void {
    if (this.#life) this.#life.isOver = true;
  }

  async #take(dbPath: string, { life, streams }: { life: Life; streams: MemoryStreams }): Promise<void> {
    const { snapshots, random } = this.#parts;
    // The process before this one may have ended with the file in its place.
    if (lookAtDatabase(dbPath) === "occupied") return;
    await takeNewest({
      dbPath,
      ...snapshotPorts({ snapshots, streams, life, random }),
      isAway: () => streams.isCutOff,
      log: {
        ...silentLog,
        info: (event, fields) => {
          if (event === "taking a snapshot") this.#object = String(fields?.["snapshot"]);
        },
      },
      stop: new AbortController().signal,
      doJob: doAtOnce,
    }, "absent");
  }
}
