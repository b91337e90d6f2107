/** What the measurements share: the table, the application's way to write to it, a folder, nodes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { NatsServer } from "../../tests/support/nats_server.ts";
import { MarmotProcess } from "../marmot_process.ts";

/** A narrow row: about 30 bytes. */
const SCHEMA =
  "CREATE TABLE reading (id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, at INTEGER NOT NULL, value REAL)";
/** More than a measurement makes: what is measured is not retention. */
const MAX_LOG_ENTRIES = 200_000;

const QUIET = { debug() {}, info() {}, warn() {}, error() {} };

export class BenchWorld implements AsyncDisposable {
  readonly #folder: string;
  readonly #cleanup: AsyncDisposableStack;
  #server: Promise<NatsServer> | undefined;
  #databases = 0;

  private constructor(folder: string, cleanup: AsyncDisposableStack) {
    this.#folder = folder;
    this.#cleanup = cleanup;
  }

  static async make(): Promise<BenchWorld> {
    const cleanup = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), "marmot-first-look-"));
    cleanup.defer(() => rm(folder, { recursive: true, force: true }));
    return new BenchWorld(folder, cleanup);
  }

  /** An application's connection to a new database with the empty table: WAL, synchronous NORMAL. */
  makeDatabase(): Application {
    const application = new Application(join(this.#folder, `${++this.#databases}.db`));
    this.#cleanup.defer(() => application.close());
    application.database.exec(SCHEMA);
    return application;
  }

  /** A node beside the database, replicating through the world's nats-server. `command` as in MarmotProcess. */
  async startNode(
    { path }: Application,
    nodeId: number,
    command?: readonly string[],
  ): Promise<MarmotProcess> {
    this.#server ??= NatsServer.start().then((server) => this.#cleanup.use(server));
    const { url } = await this.#server;
    const node = new MarmotProcess({
      nodeId,
      dbPath: path,
      natsUrl: url,
      folder: this.#folder,
      flags: ["-max-log-entries", String(MAX_LOG_ENTRIES)],
      ...(command ? { command } : {}),
    });
    this.#cleanup.use(node);
    await node.waitUntilReplicating();
    return node;
  }

  /** Ends the nats-server; the next node finds a new one with empty streams. */
  async forgetStreams(): Promise<void> {
    const server = await this.#server;
    this.#server = undefined;
    await server?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** Gives the database Marmot's triggers, as a node does at its start, and leaves no node beside. */
export function armDatabase({ path }: Application): void {
  const replica = Replica.open(path, {
    nodeId: 1n,
    makeNodeId: () => 1n,
    readSeqMap: () => new Map(),
    nowMs: () => Date.now(),
    log: QUIET,
  });
  try {
    replica.arm();
  } finally {
    replica.close();
  }
}

/** An ordinary writer: it knows SQLite and nothing of Marmot. */
export class Application {
  readonly database: DatabaseSync;
  readonly #insert: () => ReturnType<DatabaseSync["prepare"]>;

  constructor(readonly path: string) {
    this.database = new DatabaseSync(path, { timeout: 10_000 });
    this.database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    let insert: ReturnType<DatabaseSync["prepare"]> | undefined;
    this.#insert = () => insert ??= this.database.prepare("INSERT INTO reading VALUES (?, ?, ?, ?)");
  }

  /** Inserts rows from an id on, in transactions of `rowsEach`; a single row commits by itself. */
  insert(fromId: number, { rows, rowsEach }: { rows: number; rowsEach: number }): void {
    const insert = this.#insert();
    for (let done = 0; done < rows; done += rowsEach) {
      if (rowsEach > 1) this.database.exec("BEGIN IMMEDIATE");
      for (let i = done; i < done + rowsEach; i++) {
        insert.run(fromId + i, `sensor ${i % 100}`, 1_700_000_000 + i, i / 8);
      }
      if (rowsEach > 1) this.database.exec("COMMIT");
    }
  }

  close(): void {
    if (this.database.isOpen) this.database.close();
  }
}
