/**
 * What the streams mean, told by plain SQLite: each message that counts takes its keys out, then INSERT OR REPLACE brings
 * its rows, and with them SQLite's own UNIQUE rules. A node with nothing of its own pending must hold exactly this.
 */
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { DatabaseReader } from "./database_reader.ts";
import type { StoredMessage } from "../../src/stream/change_streams.ts";
import type { BatchBody } from "../../src/wire/batch_codec.ts";
import type { ChangeEvent } from "../../src/wire/batch.ts";
import {
  keyOf,
  keyText,
  type RowText,
  rowText,
  type SoundMessage,
  StreamReading,
  valueText,
} from "./stream_reading.ts";
import type { SimulatedTable } from "./tables.ts";

/** A row that was there until a message took its UNIQUE value. */
export interface Displaced {
  readonly shard: number;
  readonly sequence: number;
  readonly table: string;
  readonly key: string;
  readonly row: RowText;
}

export class Meaning {
  readonly #database = new DatabaseSync(":memory:");
  readonly #reader = new DatabaseReader(this.#database);
  readonly #tables: ReadonlyMap<string, SimulatedTable>;
  readonly #readings = new Map<number, StreamReading>();
  readonly #cursors = new Map<number, number>();

  /** `onDisplaced` is told of rows that lose their UNIQUE values, but for those whose key holds NULL. */
  constructor(tables: readonly SimulatedTable[], readonly onDisplaced?: (row: Displaced) => void) {
    this.#tables = new Map(tables.map((table) => [table.name, table]));
    for (const { sql } of tables) this.#database.exec(sql);
  }

  cursor(shard: number): number {
    return this.#cursors.get(shard) ?? 0;
  }

  /** The highest message read of each origin, in words. */
  marks(shard: number): string {
    return this.#readings.get(shard)?.marks ?? "";
  }

  /** Takes the next message, and returns it if it counts and is whole. */
  take(message: StoredMessage): SoundMessage | undefined {
    const reading = this.#readings.get(message.shard) ?? new StreamReading();
    this.#readings.set(message.shard, reading);
    this.#cursors.set(message.shard, message.sequence);
    const sound = reading.take(message);
    const table = sound && this.#tables.get(sound.body.table);
    if (!table) return sound;
    for (const event of sound.body.events) this.#delete(table, keyOf(sound.body, event));
    for (const event of sound.body.events) {
      const before = this.onDisplaced && this.#rowsByKey(table);
      this.#insert(table, sound.body, event);
      if (before) this.#tellDisplaced(table, before, message);
    }
    return sound;
  }

  dump(): Map<string, string> {
    return this.#reader.dump([...this.#tables.values()]);
  }

  close(): void {
    this.#database.close();
  }

  #delete(table: SimulatedTable, key: readonly unknown[]): void {
    this.#reader.statement(
      `DELETE FROM ${table.name} WHERE ${table.key.map((column) => `${column} IS ?`).join(" AND ")}`,
    ).run(...key as SQLInputValue[]);
  }

  #insert(table: SimulatedTable, body: BatchBody, event: ChangeEvent): void {
    const rows = event.kind === "upsert" ? [event.row] : event.kind === "list" ? event.rows : [];
    const columns = body.columns.map((column) => column ?? "rowid");
    const statement = this.#reader.statement(
      `INSERT OR REPLACE INTO ${table.name} (${columns.join(", ")}) VALUES (${
        columns.map(() => "?").join(", ")
      })`,
    );
    for (const row of rows) {
      const before = this.#lists(table);
      statement.run(...row as SQLInputValue[]);
      this.#dropCutLists(table, before);
    }
  }

  #tellDisplaced(
    table: SimulatedTable,
    before: ReadonlyMap<string, RowText>,
    { shard, sequence }: StoredMessage,
  ): void {
    const after = this.#rowsByKey(table);
    for (const [key, row] of before) {
      if (!after.has(key)) this.onDisplaced?.({ shard, sequence, table: table.name, key, row });
    }
  }

  #rowsByKey(table: SimulatedTable): Map<string, RowText> {
    const statement = this.#reader.statement(`SELECT ${this.#reader.columnsOf(table)} FROM ${table.name}`);
    const names = statement.columns().map(({ name }) => name);
    const rows = statement.all() as unknown as unknown[][];
    return new Map(
      rows.filter((row) => !row.slice(0, table.key.length).includes(null)).map((row) => [
        keyText(row.slice(0, table.key.length), table.isFolded),
        rowText(names, row),
      ]),
    );
  }

  /** How many rows each key with NULL has: such rows are one list, and leave together. */
  #lists(table: SimulatedTable): Map<string, { key: unknown[]; count: number }> {
    if (!/NULL|, y\)|, l\)/.test(table.sql) || table.key.length < 2 || !/UNIQUE/.test(table.sql)) {
      return new Map();
    }
    const columns = table.key.join(", ");
    const isList = table.key.map((column) => `${column} IS NULL`).join(" OR ");
    const rows = this.#reader.rows(
      `SELECT ${columns}, count(*) FROM ${table.name} WHERE ${isList} GROUP BY ${columns}`,
    );
    return new Map(
      rows.map((row) => {
        const key = row.slice(0, -1);
        return [key.map(valueText).join(), { key, count: Number(row.at(-1)) }];
      }),
    );
  }

  #dropCutLists(table: SimulatedTable, before: Map<string, { key: unknown[]; count: number }>): void {
    if (before.size === 0) return;
    const after = this.#lists(table);
    for (const [name, { key, count }] of before) {
      if ((after.get(name)?.count ?? 0) < count) this.#delete(table, key);
    }
  }
}
