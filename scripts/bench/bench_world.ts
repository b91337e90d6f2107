/**
 * What one repetition of a measurement works in: a folder, a nats-server, databases, applications and nodes, all of
 * which end with it.
 */
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { Replica } from "../../src/db/replica.ts";
import { silentLog } from "../../src/observability/log.ts";
import { NatsServer } from "../../tests/support/nats_server.ts";
import { FROM_SOURCE, MarmotProcess } from "../marmot_process.ts";
import { ApplicationProcess } from "./application_process.ts";
import { type ShapeName, shapeOf } from "./workload.ts";

/** More than a measurement makes: what is measured is not retention. */
const MAX_LOG_ENTRIES = 4_000_000;
export const DEFAULT_SHARDS = 8;
const POLL_MS = 2;
const ARRIVAL_TIMEOUT_MS = 600_000;
const ROWS_EACH = 5000;

export interface StartNodeOptions {
  readonly nodeId: number;
  readonly shards?: number;
  /** Where NATS is, unless at the world's server. */
  readonly natsUrl?: string;
  readonly flags?: readonly string[];
}

export class BenchWorld implements AsyncDisposable {
  readonly #folder: string;
  readonly #cleanup: AsyncDisposableStack;
  readonly #command: readonly string[];
  #server: Promise<NatsServer> | undefined;
  #databases = 0;

  private constructor(folder: string, { cleanup, command }: {
    cleanup: AsyncDisposableStack;
    command: readonly string[];
  }) {
    this.#folder = folder;
    this.#cleanup = cleanup;
    this.#command = command;
  }

  /** `command`: program and first arguments of the nodes; from source unless told. */
  static async make(command: readonly string[] = FROM_SOURCE): Promise<BenchWorld> {
    const cleanup = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), "marmot-bench-"));
    cleanup.defer(() => rm(folder, { recursive: true, force: true }));
    return new BenchWorld(folder, { cleanup, command });
  }

  get server(): Promise<NatsServer> {
    return this.#server ??= NatsServer.start().then((server) => this.#cleanup.use(server));
  }

  /** An application of its own. */
  startApplication(): ApplicationProcess {
    return this.#cleanup.use(new ApplicationProcess());
  }

  /** A new database in WAL mode with the shape's table, and so many rows in it. Returns its path. */
  makeDatabase(shape: ShapeName, rows = 0): string {
    const path = join(this.#folder, `${++this.#databases}.db`);
    using database = new DatabaseSync(path);
    const { schema, insert, row } = shapeOf(shape);
    database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; ${schema}`);
    const statement = database.prepare(insert);
    for (let id = 1; id <= rows; id++) {
      if (id % ROWS_EACH === 1) database.exec(id === 1 ? "BEGIN" : "COMMIT; BEGIN");
      statement.run(...row(id));
    }
    if (rows > 0) database.exec("COMMIT");
    return path;
  }

  /** A copy of a database that nobody has open. Returns its path. */
  async copyDatabase(from: string): Promise<string> {
    const path = join(this.#folder, `${++this.#databases}.db`);
    await copyFile(from, path);
    return path;
  }

  /** Starts a node beside a database without waiting for it; it ends with the world if not before. */
  async spawnNode(
    path: string,
    { nodeId, shards = DEFAULT_SHARDS, natsUrl, flags = [] }: StartNodeOptions,
  ): Promise<MarmotProcess> {
    const node = new MarmotProcess({
      nodeId,
      dbPath: path,
      natsUrl: natsUrl ?? (await this.server).url,
      folder: this.#folder,
      flags: [
        ...["-max-log-entries", String(MAX_LOG_ENTRIES), "-shards", String(shards)],
        ...["-enable-snapshot=false", ...flags],
      ],
      command: this.#command,
    });
    return this.#cleanup.use(node);
  }

  /** A node that replicates. */
  async startNode(path: string, options: StartNodeOptions): Promise<MarmotProcess> {
    const node = await this.spawnNode(path, options);
    await node.waitUntilReplicating();
    return node;
  }

  /** One node beside each database, with the ids 1, 2 and so on. */
  startNodes(
    paths: readonly string[],
    options: Omit<StartNodeOptions, "nodeId"> = {},
  ): Promise<MarmotProcess[]> {
    return Promise.all(paths.map((path, i) => this.startNode(path, { ...options, nodeId: i + 1 })));
  }

  /** Ends the nats-server; who asks next finds a new one with empty streams. */
  async forgetStreams(): Promise<void> {
    const server = await this.#server;
    this.#server = undefined;
    await server?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** Gives a database Marmot's triggers, as a node does at its start, and leaves no node beside. */
export function armDatabase(path: string): void {
  const replica = Replica.open(path, {
    nodeId: 1n,
    makeNodeId: () => 1n,
    readSeqMap: () => new Map(),
    nowMs: () => Date.now(),
    log: silentLog,
  });
  try {
    replica.arm();
  } finally {
    replica.close();
  }
}

/** Waits until every database holds the row of this id. Throws when it does not come, or a node ends. */
export async function waitForRow(
  paths: readonly string[],
  { shape, id, nodes = [] }: { shape: ShapeName; id: number; nodes?: readonly MarmotProcess[] },
): Promise<void> {
  const { table } = shapeOf(shape);
  for (const path of paths) {
    await waitUntil(path, `SELECT 1 FROM ${table} WHERE id = ${id}`, nodes);
  }
}

/** Waits until all that the database's application wrote was published and read back. */
export async function waitUntilSettled(path: string, nodes: readonly MarmotProcess[] = []): Promise<void> {
  await waitUntil(path, "SELECT count(*) <= 1 FROM (SELECT 1 FROM __marmot__change_log LIMIT 2)", nodes);
}

/** Waits until the query's first column is neither 0 nor absent. */
async function waitUntil(path: string, query: string, nodes: readonly MarmotProcess[]): Promise<void> {
  using database = new DatabaseSync(path, { readOnly: true, timeout: 1000 });
  const statement = database.prepare(query);
  statement.setReturnArrays(true);
  const deadline = performance.now() + ARRIVAL_TIMEOUT_MS;
  for (;;) {
    const row = statement.get() as unknown as unknown[] | undefined;
    if (row !== undefined && row[0] !== 0) return;
    const ended = nodes.find((node) => node.hasEnded);
    if (ended) throw new Error(`Node ${ended.nodeId} has ended:\n${ended.log}`);
    if (performance.now() > deadline) {
      throw new Error(`Not in time: ${query}\n${nodes.map((node) => node.log.slice(-2000)).join("\n")}`);
    }
    await delay(POLL_MS);
  }
}

/** Throws unless all databases hold as many rows with the same sum of a hash of some of their values. */
export function assertSame(paths: readonly string[], shape: ShapeName): void {
  const [first, ...others] = paths.map((path) => {
    using database = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
    const { table } = shapeOf(shape);
    const columns = database.prepare(`SELECT name FROM pragma_table_info('${table}')`).all()
      .map((column) => `total(length("${column["name"]}")), total("${column["name"]}")`);
    return JSON.stringify(database.prepare(`SELECT count(*), ${columns.join(", ")} FROM ${table}`).all());
  });
  if (others.some((other) => other !== first)) {
    throw new Error(`The nodes differ:\n${[first, ...others].join("\n")}`);
  }
}
