/**
 * Applications that write while a test does something else: each with a connection of its own, in transactions, on a
 * key range of its own (so that every row's last value is known) and on rows that all writers share.
 */
import { setImmediate as yieldToOthers, setTimeout as delay } from "node:timers/promises";
import { DatabaseSync } from "node:sqlite";
import { type Cluster, type ClusterNode, waitUntil } from "./cluster.ts";
import type { Random } from "../simulation/random.ts";

/** Tables that route to different shards; a writer's keys have its number in front. */
export const WRITERS_SCHEMA = `
  CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE named (name TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;`;

const KEYS_PER_WRITER = 1_000_000;
const OWN_KEYS = 400;
const SHARED_KEYS = 7;
/** Between two transactions: a brisk application, and time for the others on a small machine. */
const PAUSE_MS = 3;
/** An application that finds the database locked tries again, and does not stop this process meanwhile. */
const BUSY_PAUSE_MS = 2;

export interface WriterOptions {
  readonly number: number;
  readonly random: Random;
  /** Whether rows that all writers share are written too; true where left out. */
  readonly sharedRows?: boolean;
}

export class Writer {
  readonly number: number;
  /** Transactions that were committed. */
  committed = 0;
  readonly #database: DatabaseSync;
  readonly #random: Random;
  readonly #hasSharedRows: boolean;
  /** What was committed last: text per own row of `t`, and of `named`. */
  readonly #rows = new Map<number, string>();
  readonly #named = new Map<string, string>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(path: string, { number, random, sharedRows = true }: WriterOptions) {
    this.number = number;
    this.#random = random;
    this.#hasSharedRows = sharedRows;
    this.#database = new DatabaseSync(path, { timeout: 0 });
    this.#database.exec("PRAGMA synchronous = NORMAL");
    this.#running = this.#run();
  }

  /** Ends after the transaction of this moment. Throws what a statement threw. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    if (this.#database.isOpen) this.#database.close();
  }

  /** What a database lacks or has otherwise than this writer left it, in words; undefined if nothing. */
  findLoss(database: DatabaseSync): string | undefined {
    const first = this.number * KEYS_PER_WRITER;
    const rows = database.prepare("SELECT id, v FROM t WHERE id >= ? AND id < ?").all(
      first,
      first + KEYS_PER_WRITER,
    );
    const named = database.prepare("SELECT name, v FROM named WHERE name GLOB ?").all(
      `writer ${this.number} *`,
    );
    return differenceOf(this.#rows, new Map(rows.map((row) => [Number(row["id"]), String(row["v"])]))) ??
      differenceOf(this.#named, new Map(named.map((row) => [String(row["name"]), String(row["v"])])));
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const changes = Array.from({ length: 1 + this.#random.below(4) }, () => this.#draw());
      while (!this.#commit(changes)) {
        if (this.#stop.signal.aborted) return;
        await delay(BUSY_PAUSE_MS);
      }
      this.committed++;
      await yieldToOthers();
      await delay(PAUSE_MS);
    }
  }

  #draw(): () => (() => void) | undefined {
    const random = this.#random;
    const text = `${this.number}/${this.committed}/${random.below(1_000_000)}`;
    const database = this.#database;
    const dice = random.below(10);
    if (dice < 2 && this.#hasSharedRows) {
      return () => {
        database.prepare(
          "INSERT INTO t (id, v) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET v = excluded.v, n = n + 1",
        ).run(random.below(SHARED_KEYS), text);
        return undefined;
      };
    }
    if (dice < 5) {
      const name = `writer ${this.number} ${random.below(OWN_KEYS)}`;
      return () => {
        database.prepare("INSERT OR REPLACE INTO named VALUES (?, ?)").run(name, text);
        return () => this.#named.set(name, text);
      };
    }
    const id = this.number * KEYS_PER_WRITER + random.below(OWN_KEYS);
    if (dice === 5) {
      return () => {
        database.prepare("DELETE FROM t WHERE id = ?").run(id);
        return () => this.#rows.delete(id);
      };
    }
    return () => {
      database.prepare("INSERT INTO t (id, v) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET v = excluded.v")
        .run(id, text);
      return () => this.#rows.set(id, text);
    };
  }

  /** Runs the changes in one transaction and takes note of them; false where the database is locked. */
  #commit(changes: readonly (() => (() => void) | undefined)[]): boolean {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      const notes = changes.map((change) => change());
      this.#database.exec("COMMIT");
      for (const note of notes) note?.();
      return true;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      if (isLocked(error)) return false;
      throw error;
    }
  }
}

export interface WritersOptions extends Omit<WriterOptions, "number"> {
  readonly perNode: number;
}

/** Several writers, on the nodes that were named. */
export class Writers implements AsyncDisposable {
  readonly all: Writer[] = [];

  constructor(nodes: readonly ClusterNode[], { perNode, ...options }: WritersOptions) {
    for (let i = 0; i < perNode; i++) {
      for (const node of nodes) {
        this.all.push(new Writer(node.path, { number: this.all.length + 1, ...options }));
      }
    }
  }

  /** Waits until every writer has committed so many transactions more. */
  async progress(transactions: number): Promise<void> {
    const goals = this.all.map((writer) => writer.committed + transactions);
    await waitUntil(() => this.all.every((writer, i) => writer.committed >= (goals[i] ?? 0)), {
      timeoutMs: 30_000,
      what: () => `the writers do not get on: ${this.all.map((writer) => writer.committed).join(", ")}`,
    });
  }

  async stop(): Promise<void> {
    for (const writer of this.all) await writer.stop();
  }

  /** What any node lost of what was committed, in words. */
  findLoss(cluster: Cluster): string[] {
    return cluster.nodes.flatMap((node) =>
      this.all.flatMap((writer) => {
        const loss = writer.findLoss(node.application);
        return loss === undefined ? [] : [`node ${node.id}, writer ${writer.number}: ${loss}`];
      })
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.all.map((writer) => writer.stop()));
  }
}

function differenceOf<Key>(
  wanted: ReadonlyMap<Key, string>,
  found: ReadonlyMap<Key, string>,
): string | undefined {
  for (const [key, value] of wanted) {
    if (found.get(key) !== value) return `row ${key} is "${found.get(key)}" and should be "${value}"`;
  }
  for (const key of found.keys()) if (!wanted.has(key)) return `row ${key} was deleted and is there`;
  return undefined;
}

function isLocked(error: unknown): boolean {
  return error instanceof Error && /database (is|table is|schema is) locked/.test(error.message);
}
