/**
 * A cluster of real processes: one nats-server, and nodes that each replicate a database file of their own. All
 * processes end, and all files go, with the `await using` block that made it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { NatsServer, type NatsServerOptions } from "./nats_server.ts";
import { dumpTables } from "../../scripts/table_dump.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const POLL_MS = 20;

export interface ClusterOptions {
  readonly nodes: number;
  /** Run on every database before anything else. */
  readonly schema: string;
  /** Further flags of every node. */
  readonly flags?: readonly string[];
  readonly server?: NatsServerOptions;
  /** NATS URLs of each node, where the test has servers of its own, or something before them; no server is started. */
  readonly natsUrl?: (nodeId: number) => string;
  /** Whether the nodes save and restore snapshots by themselves; not unless told, to leave the machine to the test. */
  readonly hasSnapshots?: boolean;
  /** False leaves the nodes to be started by the test. */
  readonly isStarted?: boolean;
}

export class Cluster implements AsyncDisposable {
  readonly folder: string;
  readonly nodes: ClusterNode[] = [];
  readonly #server: NatsServer | undefined;
  readonly #natsUrl: (nodeId: number) => string;

  private constructor(folder: string, broker: NatsServer | ((nodeId: number) => string)) {
    this.folder = folder;
    this.#server = broker instanceof NatsServer ? broker : undefined;
    this.#natsUrl = broker instanceof NatsServer ? () => broker.url : broker;
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const broker = options.natsUrl ?? await NatsServer.start(options.server);
    const cluster = new Cluster(await mkdtemp(join(tmpdir(), "marmot-cluster-")), broker);
    try {
      for (let id = 1; id <= options.nodes; id++) cluster.addNode(options, id);
      if (options.isStarted !== false) await Promise.all(cluster.nodes.map((node) => node.start()));
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The server that was started with the cluster. */
  get server(): NatsServer {
    if (this.#server === undefined) throw new Error("the test has servers of its own");
    return this.#server;
  }

  /** A further node with a database of the same schema, in a folder of its own if one is named; not started. */
  addNode(
    options: Pick<ClusterOptions, "schema" | "flags" | "hasSnapshots"> & { folder?: string },
    id = this.nodes.length + 1,
  ): ClusterNode {
    const node = new ClusterNode({
      id,
      folder: options.folder ?? this.folder,
      url: () => this.#natsUrl(id),
      flags: [`-enable-snapshot=${options.hasSnapshots ?? false}`, ...options.flags ?? []],
    });
    node.application.exec(options.schema);
    this.nodes.push(node);
    return node;
  }

  node(id: number): ClusterNode {
    const node = this.nodes[id - 1];
    if (!node) throw new Error(`there is no node ${id}`);
    return node;
  }

  /**
   * Waits until no node has a pending change and all hold the same, and returns the content of the first. Throws with
   * the differing tables and the nodes' logs when that takes too long.
   */
  async converge(
    { timeoutMs = 30_000, tables }: { timeoutMs?: number; tables?: readonly string[] } = {},
  ): Promise<Map<string, string>> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const difference = this.findDifference(tables);
      if (difference === undefined) return dumpTables(this.node(1).application, tables);
      if (Date.now() > deadline) {
        const logs = this.nodes.map((node) => `--- node ${node.id}\n${node.log.slice(-4000)}`).join("\n");
        throw new Error(`the nodes do not converge: ${difference}\n${logs}`);
      }
      await delay(POLL_MS);
    }
  }

  /** What is not equal or not settled yet, in words; undefined if nothing. */
  findDifference(tables?: readonly string[]): string | undefined {
    const pending = this.nodes.map((node) => node.countPending());
    if (pending.some((count) => count > 0)) return `pending entries ${pending.join(", ")}`;
    const dumps = this.nodes.map((node) => dumpTables(node.application, tables));
    for (const [name, content] of dumps[0] ?? []) {
      for (const [i, dump] of dumps.entries()) {
        if (dump.get(name) === content) continue;
        const lines = new Set(content.split("\n"));
        const other = new Set((dump.get(name) ?? "(no such table)").split("\n"));
        const onlyHere = [...lines].filter((line) => !other.has(line)).slice(0, 3);
        const onlyThere = [...other].filter((line) => !lines.has(line)).slice(0, 3);
        return `table ${name}: only on node 1: ${onlyHere.join(" / ")}; only on node ${i + 1}: ${
          onlyThere.join(" / ")
        }`;
      }
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node[Symbol.asyncDispose]();
    await this.#server?.[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

interface NodeOptions {
  readonly id: number;
  readonly folder: string;
  readonly url: () => string;
  readonly flags: readonly string[];
}

export class ClusterNode implements AsyncDisposable {
  readonly id: number;
  readonly path: string;
  readonly seqMapPath: string;
  /** The application's own connection, with foreign keys on. */
  readonly application: DatabaseSync;
  /** What the processes of this node have written to stderr. */
  log = "";
  readonly #options: NodeOptions;
  #child: ChildProcess | undefined;

  constructor(options: NodeOptions) {
    this.id = options.id;
    this.#options = options;
    this.path = join(options.folder, `node ${options.id}.db`);
    this.seqMapPath = join(options.folder, `seq-map-${options.id}.cbor`);
    this.application = new DatabaseSync(this.path, { timeout: 10_000, enableForeignKeyConstraints: true });
    this.application.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`node ${this.id} is not running`);
    return this.#child.pid;
  }

  /** Starts the process; resolves when it replicates, unless told not to wait (a node without its broker never does). */
  async start(
    { isAwaited = true, flags = [], isIdGiven = true, env = {} }: {
      isAwaited?: boolean;
      flags?: readonly string[];
      /** False lets the node find or draw its id. */
      isIdGiven?: boolean;
      env?: Readonly<Record<string, string>>;
    } = {},
  ): Promise<void> {
    const from = this.log.length;
    const args = [
      "run",
      "--quiet",
      "--allow-all",
      "--no-check",
      MAIN,
      ...(isIdGiven ? ["-node-id", String(this.id)] : []),
      "-db-path",
      this.path,
    ];
    args.push(
      "-nats-url",
      this.#options.url(),
      "-seq-map-path",
      this.seqMapPath,
      "-max-log-entries",
      "1000000",
      "-verbose",
    );
    const child = spawn(Deno.execPath(), [...args, ...this.#options.flags, ...flags], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...env },
    });
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.log += text);
    child.once("exit", () => {
      if (this.#child === child) this.#child = undefined;
    });
    if (isAwaited) await this.waitForLog(/ replicating/, { from });
  }

  /** Ends the process as an operator does, and returns its exit code. */
  async stop(): Promise<number | null> {
    return await this.#end("SIGTERM");
  }

  /** Ends the process as a crash does. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  pause(): void {
    process.kill(this.pid, "SIGSTOP");
  }

  resume(): void {
    process.kill(this.pid, "SIGCONT");
  }

  /** Runs statements as the application does, in autocommit mode unless they begin a transaction. */
  sql(text: string): void {
    this.application.exec(text);
  }

  /** Entries of the change log that are not settled; 0 before the node was first started. */
  countPending(): number {
    const hasLog = this.application.prepare("SELECT 1 FROM sqlite_schema WHERE name = '__marmot__change_log'")
      .get();
    if (!hasLog) return 0;
    return Number(
      this.application.prepare("SELECT count(*) AS n FROM __marmot__change_log WHERE kind <> 3").get()
        ?.["n"] ?? 0,
    );
  }

  /** Waits until all its changes were published and read back, and fails with the log when they are not. */
  async untilPublished({ timeoutMs = 20_000 } = {}): Promise<void> {
    await waitUntil(() => this.countPending() === 0, { timeoutMs, what: () => this.log });
  }

  /** Waits for a line in the log behind `from`, and fails with the log when it does not come. */
  async waitForLog(pattern: RegExp, { from = 0, timeoutMs = 20_000 } = {}): Promise<void> {
    await waitUntil(() => pattern.test(this.log.slice(from)), {
      timeoutMs,
      what: () => `node ${this.id} never logs ${pattern}:\n${this.log.slice(from)}`,
    });
  }

  /** Waits until the process has ended by itself, and returns its exit code. */
  async waitForExit(timeoutMs = 20_000): Promise<number | null> {
    const child = this.#child;
    if (!child) return null;
    await waitUntil(() => child.exitCode !== null || child.signalCode !== null, {
      timeoutMs,
      what: () => `node ${this.id} does not end`,
    });
    return child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    if (this.application.isOpen) this.application.close();
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    const child = this.#child;
    this.#child = undefined;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
      return child?.exitCode ?? null;
    }
    const exited = once(child, "exit");
    process.kill(child.pid, signal);
    const [exitCode] = await exited;
    return exitCode;
  }
}

/** Polls a condition; never waits longer than it has to. */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  { timeoutMs, what }: { timeoutMs: number; what: () => string },
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!await condition()) {
    if (Date.now() > deadline) throw new Error(what());
    await delay(POLL_MS);
  }
}
