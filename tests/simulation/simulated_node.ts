/**
 * One node of a history: a real database file with the application's own connection to it, an oracle that holds what plain
 * SQLite would hold, and, while it lives, the real engine on virtual time and in-memory streams.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { Node } from "../../src/node/node.ts";
import { silentLog } from "../../src/observability/log.ts";
import { dumpTables } from "../../scripts/table_dump.ts";
import { type MemoryServer, MemoryStreams } from "./memory_streams.ts";
import type { Random } from "./random.ts";
import { Life, type VirtualTime } from "./virtual_time.ts";

export class CrashError extends Error {}

export class SimulatedNode {
  readonly path: string;
  readonly application: DatabaseSync;
  /** The application's statements on plain SQLite, without Marmot. */
  readonly oracle: DatabaseSync;
  streams: MemoryStreams | undefined;
  /** Why the engine ended by itself; crashes are not failures. */
  failure: unknown;
  #life: Life | undefined;
  #replica: Replica | undefined;
  #stop = new AbortController();
  #held = false;

  constructor(readonly id: number, options: { folder: string; schema: string }) {
    this.path = join(options.folder, `node-${id}.db`);
    this.application = new DatabaseSync(this.path, { enableForeignKeyConstraints: true });
    this.application.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
    this.application.exec(options.schema);
    this.oracle = new DatabaseSync(":memory:");
    this.oracle.exec(options.schema);
  }

  get isAlive(): boolean {
    return this.#life !== undefined && !this.#life.isOver;
  }

  get isLocked(): boolean {
    return this.#held;
  }

  start(world: { time: VirtualTime; server: MemoryServer; random: Random; idleLookMs: number }): void {
    const life = this.#life = new Life(world.time);
    this.#replica = Replica.open(this.path, {
      nodeId: BigInt(this.id),
      makeNodeId: () => BigInt(this.id),
      readSeqMap: () => new Map(),
      nowMs: () => life.nowMs(),
      log: silentLog,
      busyTimeoutMs: 0,
      maxImageDeletes: 100,
    });
    const streams = this.streams = new MemoryStreams(world.server, life);
    this.#stop = new AbortController();
    const node = new Node(this.#replica, {
      clock: life,
      random: world.random.next,
      streams,
      log: silentLog,
    }, { wireFormat: "batch", compress: false, idleLookMs: world.idleLookMs });
    node.run(this.#stop.signal).catch((error) => {
      if (!life.isOver && !(error instanceof CrashError)) this.failure = error;
    });
  }

  /** Ends the process between two of its steps, as SIGKILL does. */
  crash(): void {
    if (this.#life) this.#life.isOver = true;
    this.#replica?.close();
    this.#replica = undefined;
  }

  /** Ends the process inside its next transaction. */
  crashInTransaction(): void {
    const life = this.#life;
    if (!life) return;
    life.crashAtNextLook = () => {
      life.isOver = true;
      throw new CrashError("crashed in a transaction");
    };
  }

  /** To be called between steps: closes what a crash in a transaction left open. */
  bury(): void {
    if (this.#life?.isOver && this.#replica) this.crash();
  }

  /** The same, in a transaction that takes the capture triggers away first. */
  writeWithoutCapture(statements: readonly string[]): void {
    const names = this.application.prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB '__marmot__[0-9]*'",
    ).all().map((row) => String(row["name"]));
    this.write(statements, names.map((name) => `DROP TRIGGER ${name}`));
  }

  /** A transaction of the application, on the real database and on the oracle. */
  write(statements: readonly string[], before: readonly string[] = []): void {
    for (const database of [this.application, this.oracle]) {
      database.exec("BEGIN IMMEDIATE");
      if (database === this.application) { for (const statement of before) database.exec(statement); }
      for (const statement of statements) {
        try {
          database.exec(statement);
        } catch (error) {
          if (!(error instanceof Error) || !/UNIQUE|constraint/.test(error.message)) throw error;
        }
      }
      database.exec("COMMIT");
    }
  }

  /** The application takes the write lock and keeps it. */
  hold(): void {
    this.application.exec("BEGIN IMMEDIATE");
    this.#held = true;
  }

  release(): void {
    if (this.#held) this.application.exec("COMMIT");
    this.#held = false;
  }

  /** Rows on which this node still has something to do, in words; undefined at rest. */
  unrest(server: MemoryServer): string | undefined {
    if (!this.isAlive) return "not running";
    const count = (sql: string) => Number(this.application.prepare(sql).get()?.["n"] ?? 0);
    const pending = count("SELECT count(*) AS n FROM __marmot__change_log WHERE kind <> 3");
    if (pending > 0) return `${pending} entries pending`;
    const images = count("SELECT count(*) AS n FROM __marmot__image WHERE is_done = 0");
    if (images > 0) return `${images} table images due`;
    for (const shard of server.logs.keys()) {
      const cursor = count(`SELECT cursor AS n FROM __marmot__stream WHERE name = 'stream-${shard + 1}'`);
      if (cursor !== server.logs[shard]?.length) {
        return `cursor ${cursor} of stream ${shard + 1} is not at the end`;
      }
    }
    return undefined;
  }

  countHidden(): number {
    return Number(this.application.prepare("SELECT count(*) AS n FROM __marmot__hidden").get()?.["n"] ?? 0);
  }

  dump(): Map<string, string> {
    return dumpTables(this.application);
  }

  async end(): Promise<void> {
    this.release();
    if (this.isAlive) this.crash();
    this.application.close();
    this.oracle.close();
    await Promise.resolve();
  }
}
