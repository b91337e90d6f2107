/**
 * The application of one node in a soak: it writes on rows of its own, of which it knows the last committed value, and
 * on rows that all writers share. A locked database is tried again, for ever, without stopping the process.
 */
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "../../simulation/random.ts";

export const SOAK_SCHEMA = `
  CREATE TABLE item (id INTEGER PRIMARY KEY, v TEXT, n INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE label (name TEXT, part INTEGER, v TEXT, PRIMARY KEY (name, part)) WITHOUT ROWID;
  CREATE TABLE account (id INTEGER PRIMARY KEY, email TEXT UNIQUE, v TEXT);
  CREATE TABLE seat (id INTEGER PRIMARY KEY, holder TEXT UNIQUE);`;

/** A writer's keys have its number in front. */
const KEYS_PER_WRITER = 1_000_000;
const OWN = { items: 300, labels: 80, accounts: 60 } as const;
const BULK = { firstKey: 10_000, keys: 800, least: 100, most: 500 } as const;
/** Rows that do not fit into a message: their writer is to be run on a server with a small max_payload. */
const LARGE = { firstKey: 20_000, keys: 3, characters: 150_000 } as const;
const SHARED = { items: 7, seats: 6, holders: 5 } as const;
/** Of a value, so much is told in a failure. */
const TOLD_CHARACTERS = 60;
const PAUSE_MS = 4;
const BUSY_PAUSE_MS = 3;

/** A statement of a transaction that tells the oracle what it does, if it is on rows of the writer's own. */
interface Change {
  readonly sql: string;
  readonly parameters: readonly (string | number)[];
  readonly note?: (oracle: OwnRows) => void;
}

/** What a writer's own rows are to hold: value by table and key. */
type OwnRows = Map<string, string>;

export class SoakWriter {
  readonly number: number;
  /** Transactions that were committed, and row changes in them. */
  committed = 0;
  writes = 0;
  readonly #database: DatabaseSync;
  readonly #random: Random;
  #oracle: OwnRows = new Map();
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(path: string, { number, random }: { number: number; random: Random }) {
    this.number = number;
    this.#random = random;
    this.#database = new DatabaseSync(path, { timeout: 0 });
    this.#database.exec("PRAGMA synchronous = NORMAL");
  }

  /** Begins to write. */
  start(): void {
    this.#stop = new AbortController();
    this.#running = this.#run(this.#stop.signal);
    // Its failure is told by `stop`.
    this.#running.catch(() => {});
  }

  /** Ends after the transaction of this moment. Throws what a statement threw. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  /** The own rows that a database lacks, has otherwise, or has though they were deleted; one text each. */
  findLosses(database: DatabaseSync): string[] {
    const found = this.#read(database);
    const keys = new Set([...this.#oracle.keys(), ...found.keys()]);
    const tell = (value: string | undefined) => value?.slice(0, TOLD_CHARACTERS) ?? "nothing";
    return [...keys].filter((key) => found.get(key) !== this.#oracle.get(key)).map((key) =>
      `${key} is ${tell(found.get(key))}, writer ${this.number} left ${tell(this.#oracle.get(key))}`
    );
  }

  #read(database: DatabaseSync): OwnRows {
    const rows: OwnRows = new Map();
    const first = this.number * KEYS_PER_WRITER;
    for (const table of ["item", "account"]) {
      const value = table === "item" ? "v" : "email || ' ' || v";
      const sql = `SELECT id, ${value} AS v FROM ${table} WHERE id >= ? AND id < ?`;
      for (const row of database.prepare(sql).all(first, first + KEYS_PER_WRITER)) {
        rows.set(`${table} ${row["id"]}`, String(row["v"]));
      }
    }
    const labels = database.prepare("SELECT name, part, v FROM label WHERE part = ?").all(this.number);
    for (const row of labels) rows.set(`label ${row["name"]}`, String(row["v"]));
    return rows;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const changes = this.#drawTransaction();
      while (!this.#commit(changes)) {
        if (signal.aborted) return;
        await delay(BUSY_PAUSE_MS);
      }
      this.committed++;
      this.writes += changes.length;
      await delay(PAUSE_MS);
    }
  }

  /** Runs the changes in one transaction and takes note of them; false where the database is locked. */
  #commit(changes: readonly Change[]): boolean {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      for (const { sql, parameters } of changes) this.#database.prepare(sql).run(...parameters);
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      if (error instanceof Error && /database (is|table is|schema is) locked/.test(error.message)) {
        return false;
      }
      throw error;
    }
    for (const { note } of changes) note?.(this.#oracle);
    return true;
  }

  #drawTransaction(): Change[] {
    const random = this.#random;
    if (random.chance(0.01)) return this.#drawBulk();
    if (random.chance(0.005)) return [this.#upsertLargeItem()];
    return Array.from({ length: 1 + random.below(4) }, () => {
      const draw = random.pick([
        ...[this.#upsertItem, this.#upsertItem, this.#deleteItem, this.#renewItem],
        ...[this.#upsertLabel, this.#renameLabel, this.#putAccount, this.#moveAccount],
        ...[this.#touchSharedItem, this.#deleteSharedItem, this.#takeSeat],
      ]);
      return draw.call(this);
    }).flat();
  }

  #text(): string {
    return `${this.number}/${this.committed}/${this.#random.below(1_000_000)}`;
  }

  #itemId(): number {
    return this.number * KEYS_PER_WRITER + this.#random.below(OWN.items);
  }

  #drawBulk(): Change[] {
    const count = BULK.least + this.#random.below(BULK.most - BULK.least);
    return Array.from({ length: count }, () => {
      const key = BULK.firstKey + this.#random.below(BULK.keys);
      return this.#upsertItemAt(this.number * KEYS_PER_WRITER + key);
    });
  }

  #upsertItem(): Change[] {
    return [this.#upsertItemAt(this.#itemId())];
  }

  #upsertLargeItem(): Change {
    const key = LARGE.firstKey + this.#random.below(LARGE.keys);
    const text = this.#text().padEnd(LARGE.characters, "large ");
    return this.#upsertItemAt(this.number * KEYS_PER_WRITER + key, text);
  }

  #upsertItemAt(id: number, text = this.#text()): Change {
    return {
      sql: "INSERT INTO item (id, v) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET v = excluded.v",
      parameters: [id, text],
      note: (oracle) => oracle.set(`item ${id}`, text),
    };
  }

  #deleteItem(id = this.#itemId()): Change[] {
    return [{
      sql: "DELETE FROM item WHERE id = ?",
      parameters: [id],
      note: (oracle) => oracle.delete(`item ${id}`),
    }];
  }

  /** A deletion and another insert of the same row. */
  #renewItem(): Change[] {
    const id = this.#itemId();
    return [...this.#deleteItem(id), this.#upsertItemAt(id)];
  }

  #labelName(): string {
    return `label ${this.#random.below(OWN.labels)}`;
  }

  #upsertLabel(): Change[] {
    const [name, text] = [this.#labelName(), this.#text()];
    return [{
      sql: "INSERT OR REPLACE INTO label VALUES (?, ?, ?)",
      parameters: [name, this.number, text],
      note: (oracle) => oracle.set(`label ${name}`, text),
    }];
  }

  /** A change of key, over the row that has the new key. */
  #renameLabel(): Change[] {
    const [from, to] = [this.#labelName(), this.#labelName()];
    return [{
      sql: "UPDATE OR REPLACE label SET name = ? WHERE name = ? AND part = ?",
      parameters: [to, from, this.number],
      note: (oracle) => moveRow(oracle, { from: `label ${from}`, to: `label ${to}` }),
    }];
  }

  #accountId(): number {
    return this.number * KEYS_PER_WRITER + this.#random.below(OWN.accounts);
  }

  /** Takes an address, from the account that has it. */
  #putAccount(): Change[] {
    const [id, text] = [this.#accountId(), this.#text()];
    const email = `${this.#random.below(OWN.accounts)}@${this.number}`;
    return [{
      sql: "INSERT OR REPLACE INTO account VALUES (?, ?, ?)",
      parameters: [id, email, text],
      note: (oracle) => {
        for (const [key, value] of oracle) {
          if (key.startsWith("account ") && value.startsWith(`${email} `)) oracle.delete(key);
        }
        oracle.set(`account ${id}`, `${email} ${text}`);
      },
    }];
  }

  #moveAccount(): Change[] {
    const [from, to] = [this.#accountId(), this.#accountId()];
    return [{
      sql: "UPDATE OR REPLACE account SET id = ? WHERE id = ?",
      parameters: [to, from],
      note: (oracle) => moveRow(oracle, { from: `account ${from}`, to: `account ${to}` }),
    }];
  }

  #touchSharedItem(): Change[] {
    return [{
      sql: "INSERT INTO item (id, v) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET v = excluded.v, n = n + 1",
      parameters: [this.#random.below(SHARED.items), this.#text()],
    }];
  }

  #deleteSharedItem(): Change[] {
    return [{ sql: "DELETE FROM item WHERE id = ?", parameters: [this.#random.below(SHARED.items)] }];
  }

  /** UNIQUE values that writers on all nodes want at once. */
  #takeSeat(): Change[] {
    const parameters = [this.#random.below(SHARED.seats), `holder ${this.#random.below(SHARED.holders)}`];
    return [{ sql: "INSERT OR REPLACE INTO seat VALUES (?, ?)", parameters }];
  }
}

function moveRow(oracle: OwnRows, { from, to }: { from: string; to: string }): void {
  const value = oracle.get(from);
  if (value === undefined || from === to) return;
  oracle.delete(from);
  oracle.set(to, value);
}
