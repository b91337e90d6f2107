/**
 * One node of a history: a real database file with the application's own connection to it, an oracle that holds what plain
 * SQLite would hold, and, while it lives, the real engine on virtual time and in-memory streams.
 */
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { Node } from "../../src/node/node.ts";
import { removeAbandoned } from "../../src/node/snapshot/temporary_files.ts";
import type { Log } from "../../src/observability/log.ts";
import { silentLog } from "../../src/observability/log.ts";
import { dumpTables } from "../../scripts/table_dump.ts";
import { DatabaseReader } from "./database_reader.ts";
import type { Touch } from "./ledger.ts";
import type { MemoryServer } from "./memory_server.ts";
import { MemoryStreams } from "./memory_streams.ts";
import type { TransactionPoint } from "./plan.ts";
import type { Random } from "./random.ts";
import type { MemorySnapshots } from "./memory_snapshots.ts";
import { Sabotage, throwBusy } from "./sabotage.ts";
import { Saving, type SavingParts } from "./saving.ts";
import { keyText, type RowText, rowText } from "./stream_reading.ts";
import type { SimulatedTable } from "./tables.ts";
import { Life, type VirtualTime } from "./virtual_time.ts";

export class CrashError extends Error {}
// Work that nobody waits for dies with its process.
globalThis.addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof CrashError) event.preventDefault();
});

/** What a statement may say no with; the oracle says the same. */
const REFUSED =
  /UNIQUE|constraint|cannot store|datatype mismatch|no such column|has no column named|no such table/;
/** Captured changes that are taken in at once: so few that there often are more. */
const LOAD_LIMIT = 3;
/** Settled entries that may stay: the one with the highest id, and the one that was that before. */
const MAX_ENTRIES_AT_REST = 2;

export interface NodeParts {
  readonly folder: string;
  readonly schema: string;
  /** The tables that checks look at; all without it. */
  readonly tables?: readonly SimulatedTable[];
  /** The application's statements on plain SQLite, without Marmot; shared where all nodes write in turns. */
  readonly oracle?: DatabaseSync | undefined;
  /** The node's share of the network's latency. */
  readonly distance?: number;
}

/** One row of the change log. */
interface Entry {
  readonly table: SimulatedTable;
  readonly id: number;
  readonly kind: number;
  readonly key: readonly unknown[];
}

/** What a node needs from the world that it starts in. */
export interface Surroundings {
  readonly time: VirtualTime;
  readonly server: MemoryServer;
  readonly random: Random;
  readonly idleLookMs: number;
  /** Where snapshots are kept, and how nodes save them. */
  readonly saves?: {
    readonly snapshots: MemorySnapshots;
    /** Whether nodes save by the rule as well, and wait before they trim what none covers. */
    readonly areAutomatic: boolean;
    /** How long what is pending in a copy may take. */
    readonly pendingMs: number;
  } | undefined;
  /** Takes what a node says. */
  readonly say?: (node: number, text: string) => void;
}

export class SimulatedNode {
  readonly path: string;
  application: DatabaseSync;
  readonly parts: NodeParts;
  streams: MemoryStreams | undefined;
  /** Why the engine ended by itself; crashes are not failures. */
  failure: unknown;
  /** Streams that the node said it has stopped. */
  readonly stopped = new Set<string>();
  /** Saves snapshots while the node lives, where the history has such. */
  saving: Saving | undefined;
  /** Of a node that came up from a snapshot: how far it must have read each stream before its rows are those of the streams. */
  exactFrom: readonly number[] = [];
  /** Copies of the file, oldest first. */
  readonly copies: string[] = [];
  /**
   * How many points it has passed, since its application first wrote, at which a process can end: statements, commits, and
   * moments after it has waited.
   */
  points = 0;
  /** Where its process ends, once. */
  crashAtPoint = Infinity;
  #reader: DatabaseReader;
  /** Changes by the application itself, which its own data_version does not tell. */
  #writes = 0;
  #life: Life | undefined;
  #replica: Replica | undefined;
  #sabotage: Sabotage | undefined;
  #held = false;
  #hasLog = false;
  readonly #tables: readonly SimulatedTable[];

  /** Where the file is not "in place", it is made, or copied from another. */
  constructor(readonly id: number, parts: NodeParts, from?: "in place" | { readonly copy: string }) {
    this.parts = parts;
    this.#tables = parts.tables ?? [];
    this.path = join(parts.folder, `node-${id}.db`);
    if (typeof from === "object") copyFileSync(from.copy, this.path);
    this.application = this.#open();
    this.#reader = new DatabaseReader(this.application);
    if (from !== undefined) return;
    this.application.exec(parts.schema);
  }

  get isAlive(): boolean {
    return this.#life !== undefined && !this.#life.isOver;
  }

  get isLocked(): boolean {
    return this.#held;
  }

  /** This life of the process, as messages tell it; 0 where it is not running. */
  get run(): number {
    return this.#replica?.run ?? 0;
  }

  start(surroundings: Surroundings): void {
    const { time, server, random, idleLookMs, saves } = surroundings;
    if (saves) removeAbandoned(this.path);
    const life = this.#life = new Life(time, () => this.#pass());
    const replica = this.#replica = Replica.open(this.path, {
      nodeId: BigInt(this.id),
      makeNodeId: () => BigInt(this.id),
      readSeqMap: () => new Map(),
      nowMs: () => life.nowMs(),
      log: silentLog,
      busyTimeoutMs: 0,
      maxImageDeletes: 100,
      loadLimit: LOAD_LIMIT,
    });
    this.#sabotage = new Sabotage(replica.connection, () => {
      if (this.#pass()) throw new CrashError("crashed in a transaction");
    });
    const streams = this.streams = new MemoryStreams(server, life, this.parts.distance);
    this.stopped.clear();
    const saving = this.saving = saves && this.#savingIn(surroundings, { ...saves, replica, streams, life });
    const node = new Node(replica, {
      clock: life,
      random: random.next,
      streams,
      log: this.#log(surroundings),
    }, {
      wireFormat: "batch",
      compress: false,
      idleLookMs,
      ...saving ? { gate: saving.gate, snapshots: saving.saved } : {},
    });
    if (saves?.areAutomatic) saving?.runAutomatically(node);
    node.run(new AbortController().signal).catch((error) => {
      if (!life.isOver && !(error instanceof CrashError)) this.failure = error;
    });
  }

  #savingIn(
    { random, say }: Surroundings,
    life: Pick<SavingParts, "snapshots" | "pendingMs" | "replica" | "streams" | "life">,
  ): Saving {
    return new Saving({
      ...life,
      dbPath: this.path,
      random,
      // What its rows were ahead of the cursor when they came is in what it saves.
      cursorOf: (shard) => Math.max(this.cursor(shard), this.exactFrom[shard - 1] ?? 0),
      say: (text) => say?.(this.id, text),
      onFailure: (error) => this.failure ??= error,
    });
  }

  /** Ends the process between two of its steps, as SIGKILL does. */
  crash(): void {
    if (this.#life) this.#life.isOver = true;
    this.#replica?.close();
    this.#replica = undefined;
  }

  /** Passes a point at which a process can end, and returns whether it does. */
  #pass(): boolean {
    if (this.#writes === 0 || ++this.points !== this.crashAtPoint || !this.#life) return false;
    this.#life.isOver = true;
    return true;
  }

  /** Ends the process in its next transaction: at a point of it, or where it looks at its clock. */
  crashInside(at: TransactionPoint | "clock"): void {
    const life = this.#life;
    if (!life) return;
    const strike = () => {
      life.isOver = true;
      throw new CrashError("crashed in a transaction");
    };
    if (at === "clock") life.crashAtNextLook = strike;
    else this.#sabotage?.arm(at, strike);
  }

  /** SQLite says in the next transaction that the database is locked. */
  makeBusy(at: TransactionPoint): void {
    this.#sabotage?.arm(at === "committed" ? "commit" : at, throwBusy);
  }

  disarm(): void {
    this.#sabotage?.disarm();
  }

  /** To be called between steps: closes what a crash in a transaction left open. */
  bury(): void {
    if (this.#life?.isOver && this.#replica) this.crash();
  }

  /** A transaction of the application, on the real database and on the oracle; returns what it touched. */
  write(statements: readonly string[]): Touch[] {
    const before = this.#highestLogId();
    this.#writes++;
    transact(this.application, statements);
    if (this.parts.oracle) transact(this.parts.oracle, statements);
    return this.#touchesSince(before);
  }

  /** The same, in a transaction that takes the capture triggers away first. */
  writeWithoutCapture(statements: readonly string[]): void {
    const triggers = this.#reader.rows(
      "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB '__marmot__[0-9]*'",
    );
    this.#writes++;
    transact(this.application, [...triggers.map(([name]) => `DROP TRIGGER ${name}`), ...statements]);
    if (this.parts.oracle) transact(this.parts.oracle, statements);
  }

  /** A change of the schema, by the application; nothing happens where it was made before. Returns the rows it touched. */
  alter(sql: string): Touch[] {
    const before = this.#highestLogId();
    try {
      this.application.exec(sql);
    } catch (error) {
      if (this.application.isTransaction) this.application.exec("ROLLBACK");
      if (
        !(error instanceof Error) || !/duplicate column|already exists|no such column/.test(error.message)
      ) throw error;
    }
    this.#writes++;
    this.#reader.forget();
    return this.#touchesSince(before);
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

  /** Copies the database to a file of its own. */
  copy(): string {
    this.application.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    const copy = `${this.path}.copy-${this.copies.length}`;
    copyFileSync(this.path, copy);
    this.copies.push(copy);
    return copy;
  }

  /** An older copy of the file comes back while nobody has it open. */
  restore(copy: string): void {
    this.crash();
    this.application.close();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${this.path}${suffix}`, { force: true });
    copyFileSync(copy, this.path);
    this.application = this.#open();
    this.#reader = new DatabaseReader(this.application);
    this.#writes++;
  }

  /** Whether messages that the node has not read are gone, and it has said so: then it stands still, and rightly. */
  isLeftBehind(server: MemoryServer): boolean {
    return [...this.stopped].some((stream) => {
      const shard = Number(stream.split("-")[1]);
      return this.cursor(shard) + 1 < server.describe(shard).firstSequence;
    });
  }

  /** What the node still has to do, in words; undefined at rest. */
  unrest(server: MemoryServer): string | undefined {
    if (!this.isAlive) return "not running";
    if (this.isLeftBehind(server)) return undefined;
    const pending = this.#reader.count("__marmot__change_log WHERE kind <> 3");
    if (pending > 0) return `${pending} entries pending`;
    if (this.#reader.count("__marmot__image WHERE is_done = 0") > 0) return "a table image is due";
    for (let shard = 1; shard <= server.shards; shard++) {
      const cursor = this.cursor(shard);
      if (cursor !== server.lastSequence(shard)) {
        return `cursor ${cursor} of stream ${shard} is not at the end`;
      }
      if (!this.#isAtCursor(server, shard)) return `another message stands at the cursor of stream ${shard}`;
    }
    return this.stopped.size > 0 ? `${[...this.stopped].join(", ")} said to be stopped` : undefined;
  }

  /** Whether the message at the cursor is the one that the node has read there. */
  #isAtCursor(server: MemoryServer, shard: number): boolean {
    const [row] = this.#reader.rows(
      "SELECT cursor, created_at, stored_at FROM __marmot__stream WHERE name = ?",
      [
        `stream-${shard}`,
      ],
    );
    const [cursor, createdAt, storedAt] = row ?? [0, "", ""];
    if (createdAt !== "" && createdAt !== server.describe(shard).createdAt) return false;
    const message = server.at(shard, Number(cursor));
    return storedAt === "" || message === undefined || message.storedAt === storedAt;
  }

  /** What must not be there at rest, in words. */
  findLeftovers(): string | undefined {
    const entries = this.#reader.count("__marmot__change_log");
    if (entries > MAX_ENTRIES_AT_REST) return `${entries} entries in the change log`;
    for (const table of ["hidden", "parked", "part", "quarantine"]) {
      const count = this.#reader.count(`__marmot__${table}`);
      if (count > 0) return `${count} rows in __marmot__${table}`;
    }
    return this.#findFtsDifference();
  }

  /** Another text whenever anything was committed to the database. */
  get version(): string {
    return `${this.#writes} ${this.#reader.value("PRAGMA data_version")}`;
  }

  cursor(shard: number): number {
    return Number(
      this.#reader.value("SELECT cursor FROM __marmot__stream WHERE name = ?", [`stream-${shard}`]) ?? 0,
    );
  }

  /** The highest message read of each origin, in words. */
  marks(shard: number): string {
    return this.#reader.rows(
      "SELECT origin || ':' || run || '/' || number FROM __marmot__origin WHERE stream = ?",
      [
        `stream-${shard}`,
      ],
    ).map(([mark]) => String(mark)).sort().join(" ");
  }

  /** Whether the tables should hold just what the streams say. */
  get isQuiet(): boolean {
    return !this.#held && this.#reader.count("__marmot__meta WHERE name = 'merging'") === 0 &&
      this.#reader.count("__marmot__change_log WHERE kind <> 3") === 0 &&
      this.#reader.count("__marmot__hidden") === 0 && this.#reader.count("__marmot__parked") === 0;
  }

  /** Rows with a pending local change, as they are now. */
  pendingRows(): { table: string; key: string; rows: RowText[] }[] {
    return this.#entries("c.kind = 0").map(({ table, key }) => ({
      table: table.name,
      key: keyText(key, table.isFolded),
      rows: this.#rows(table, key),
    }));
  }

  /** The conflict journal. */
  conflicts(): Record<string, unknown>[] {
    return this.application.prepare(
      "SELECT kind, table_name, losing, losing_origin, winner_stream, winner_sequence, winner_origin, at_ms " +
        "FROM __marmot__conflict",
    ).all();
  }

  /** What the tables hold; those that are not there yet are left out. */
  dump(): Map<string, string> {
    return this.parts.tables ? this.#reader.dump(this.#known()) : dumpTables(this.application);
  }

  end(): void {
    this.release();
    if (this.isAlive || this.#replica) this.crash();
    this.application.close();
  }

  #open(): DatabaseSync {
    const application = new DatabaseSync(this.path, { enableForeignKeyConstraints: true });
    application.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
    return application;
  }

  #log({ saves, say }: Surroundings): Log {
    const onTakenOver = (stream: string, fields: Readonly<Record<string, unknown>>) => {
      const at = Number(stream.split("-")[1]) - 1;
      const exactFrom = saves?.snapshots.exactFrom.get(this.saving?.fetched ?? "")?.[at] ?? 0;
      const places = Array.from({ length: at + 1 }, (_, i) => this.exactFrom[i] ?? 0);
      this.exactFrom = [...places.with(at, exactFrom), ...this.exactFrom.slice(at + 1)];
      say?.(
        this.id,
        `has taken ${stream} over from a snapshot, reads from ${
          fields["readsFrom"]
        } on, exact from ${exactFrom} on`,
      );
    };
    const error = (event: string, fields?: Parameters<Log["error"]>[1]) => {
      if (event.startsWith("stream stopped")) this.stopped.add(String(fields?.["stream"]));
    };
    const info = (event: string, fields?: Parameters<Log["info"]>[1]) => {
      if (event === "stream goes on") this.stopped.delete(String(fields?.["stream"]));
      if (event === "snapshot taken over") onTakenOver(String(fields?.["stream"]), fields ?? {});
    };
    return { ...silentLog, error, info };
  }

  #touchesSince(id: number): Touch[] {
    const touches = new Map<string, Touch>();
    for (const entry of this.#entries(`c.id > ? AND c.kind IN (0, 1)`, [id])) {
      const { table } = entry;
      const rows = this.#rows(table, entry.key);
      const key = keyText(entry.key, table.isFolded);
      // A victim counts only while its row is absent.
      if (entry.kind === 1 && rows.length > 0 && !entry.key.includes(null)) continue;
      touches.set(`${table.name} ${key}`, { table: table.name, key, id: entry.id, rows });
    }
    return [...touches.values()];
  }

  #known(): SimulatedTable[] {
    return this.#tables.filter(({ name, isLater }) =>
      !isLater || this.#reader.value("SELECT 1 FROM sqlite_schema WHERE name = ?", [name]) !== undefined
    );
  }

  #entries(condition: string, parameters: readonly unknown[] = []): Entry[] {
    if (this.#highestLogId() === 0) return [];
    const found = this.#reader.rows(
      `SELECT c.id, t.name, c.* FROM __marmot__change_log AS c JOIN __marmot__table AS t ON t.id = c.table_id ` +
        `WHERE ${condition} ORDER BY c.id`,
      parameters,
    );
    return found.flatMap((row) => {
      const table = this.#tables.find(({ name }) => name === row[1]);
      if (!table) return [];
      const at = this.#keyPosition();
      return [{ table, id: Number(row[0]), kind: Number(row[4]), key: row.slice(at, at + table.key.length) }];
    });
  }

  /** Where the key begins in a row of `#entries`. */
  #keyPosition(): number {
    return 2 +
      Number(
        this.#reader.value("SELECT cid FROM pragma_table_info('__marmot__change_log') WHERE name = 'k0'"),
      );
  }

  #rows(table: SimulatedTable, key: readonly unknown[]): RowText[] {
    const statement = this.#reader.statement(
      `SELECT ${this.#reader.columnsOf(table)} FROM ${table.name} WHERE ${
        table.key.map((column) => `${column} IS ?`).join(" AND ")
      }`,
    );
    const names = statement.columns().map(({ name }) => name);
    return (statement.all(...key as SQLInputValue[]) as unknown as unknown[][]).map((row) =>
      rowText(names, row)
    );
  }

  #findFtsDifference(): string | undefined {
    for (const { name, extras } of this.#tables) {
      if (extras === undefined) continue;
      try {
        this.application.exec(`INSERT INTO ${name}_fts (${name}_fts, rank) VALUES ('integrity-check', 1)`);
      } catch (error) {
        return `the FTS index of ${name} is not that of the table: ${
          error instanceof Error ? error.message : error
        }`;
      }
    }
    return undefined;
  }

  #highestLogId(): number {
    if (!this.#hasLog) {
      const name = this.#reader.value("SELECT 1 FROM sqlite_schema WHERE name = '__marmot__change_log'");
      if (name === undefined) return 0;
      this.#hasLog = true;
    }
    return Number(this.#reader.value("SELECT max(id) FROM __marmot__change_log") ?? 0);
  }
}

/** Makes the tables that are there from the beginning. */
export function schemaOf(tables: readonly SimulatedTable[]): string {
  return tables.filter(({ isLater }) => !isLater).map(({ sql, extras }) => extras ? `${sql}; ${extras}` : sql)
    .join("; ");
}

function transact(database: DatabaseSync, statements: readonly string[]): void {
  database.exec("BEGIN IMMEDIATE");
  for (const statement of statements) {
    try {
      database.exec(statement);
    } catch (error) {
      if (!(error instanceof Error) || !REFUSED.test(error.message)) throw error;
    }
  }
  database.exec("COMMIT");
}
