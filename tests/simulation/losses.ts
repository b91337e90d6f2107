/**
 * What loses by the streams, told without the engine: every event of each row, and which rows lose their UNIQUE values to
 * which message. Rows whose key holds NULL are left out: such a key names many.
 */
import { type Displaced, Meaning } from "./meaning.ts";
import type { MemoryServer } from "./memory_server.ts";
import { keyOf, keyText, type RowText, rowTexts } from "./stream_reading.ts";
import type { SimulatedTable } from "./tables.ts";

/** What a message says of one row. */
export interface ToldRow {
  readonly shard: number;
  readonly sequence: number;
  readonly origin: number;
  /** undefined: that it is gone. */
  readonly row: RowText | undefined;
}

export class Losses {
  readonly displaced: Displaced[] = [];
  readonly #told = new Map<string, ToldRow[]>();

  constructor(server: MemoryServer, tables: readonly SimulatedTable[]) {
    const meaning = new Meaning(tables, (found) => this.displaced.push(found));
    try {
      for (let shard = 1; shard <= server.shards; shard++) {
        for (let sequence = 1; sequence <= server.lastSequence(shard); sequence++) {
          const message = server.everStored(shard, sequence);
          const sound = message && meaning.take(message);
          const table = sound && tables.find(({ name }) => name === sound.body.table);
          if (!sound || !table) continue;
          for (const event of sound.body.events) {
            const key = keyOf(sound.body, event);
            if (event.kind === "list" || key.includes(null)) continue;
            const [row] = rowTexts(sound.body, event);
            this.#of(table.name, keyText(key, table.isFolded)).push({
              ...{ shard, sequence, origin: sound.origin, row },
            });
          }
        }
      }
    } finally {
      meaning.close();
    }
  }

  /** What the streams say of a row, in order. */
  told(table: string, key: string): readonly ToldRow[] {
    return this.#told.get(`${table} ${key}`) ?? [];
  }

  /** Whether a later event says what the row is: then it was not lost to the message that displaced it. */
  isReplaced({ table, key, sequence }: Displaced): boolean {
    return this.told(table, key).some((told) => told.sequence > sequence);
  }

  #of(table: string, key: string): ToldRow[] {
    const name = `${table} ${key}`;
    let told = this.#told.get(name);
    if (!told) this.#told.set(name, told = []);
    return told;
  }
}
