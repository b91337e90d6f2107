/** One of the demo's nodes: a copy of the database, the Marmot process beside it, and the application that writes. */
import { createHash } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { dumpTables } from "../table_dump.ts";
import { MarmotProcess } from "../marmot_process.ts";
import { type Language, WriterProcess } from "./writer_process.ts";

/** As much as a long demo makes; the streams drop older messages. */
const MAX_LOG_ENTRIES = 200_000;

export interface Content {
  /** All rows of all tables, exact: equal texts mean equal content. */
  readonly tables: ReadonlyMap<string, string>;
  readonly sha256: string;
  readonly rows: ReadonlyMap<string, number>;
  /** Flights by the writer who inserted them. */
  readonly flightsOfWriter: ReadonlyMap<number, number>;
}

export class DemoNode implements AsyncDisposable {
  readonly marmot: MarmotProcess;
  writer: WriterProcess | undefined;
  readonly #reader: DatabaseSync;

  constructor(
    readonly id: number,
    readonly dbPath: string,
    readonly language: Language,
    { natsUrl, folder }: { natsUrl: string; folder: string },
  ) {
    const flags = ["-max-log-entries", String(MAX_LOG_ENTRIES)];
    this.marmot = new MarmotProcess({ nodeId: id, dbPath, natsUrl, folder, flags });
    this.#reader = new DatabaseSync(dbPath, { readOnly: true, timeout: 10_000 });
  }

  startWriter(seconds: number): void {
    this.writer = new WriterProcess(this.language, { dbPath: this.dbPath, writer: this.id, seconds });
  }

  /** Changes that were captured and not yet read back from their stream. */
  countPending(): number {
    const row = this.#reader.prepare("SELECT count(*) AS n FROM __marmot__change_log WHERE kind <> 3").get();
    return Number(row?.["n"]);
  }

  /** What is captured and not settled, and what was read and not applied. */
  get lag(): number {
    return this.countPending() + this.marmot.figure("waiting");
  }

  /** How far each stream was applied, as text that is equal when the positions are. */
  readPositions(): string {
    const rows = this.#reader.prepare("SELECT name, cursor FROM __marmot__stream ORDER BY name").all();
    return JSON.stringify(rows);
  }

  readContent(): Content {
    const tables = dumpTables(this.#reader);
    const sha256 = createHash("sha256");
    const rows = new Map<string, number>();
    for (const [name, text] of tables) {
      sha256.update(`${name}\n${text}\n`);
      rows.set(name, text === "" ? 0 : text.split("\n").length);
    }
    const flights = this.#reader.prepare(
      "SELECT id / 1000000000 AS writer, count(*) AS n FROM flight GROUP BY writer",
    ).all();
    return {
      tables,
      rows,
      sha256: sha256.digest("hex"),
      flightsOfWriter: new Map(flights.map((row) => [Number(row["writer"]), Number(row["n"])])),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#reader.close();
    await this.writer?.[Symbol.asyncDispose]();
    await this.marmot[Symbol.asyncDispose]();
  }
}

/**
 * Whether all is replicated: no node has a change that it has not read back from its stream, and all have read the
 * streams equally far. The positions are read last: they only grow, and with nothing pending nothing follows.
 */
export function hasConverged(nodes: readonly DemoNode[]): boolean {
  if (nodes.some((node) => node.countPending() > 0)) return false;
  return new Set(nodes.map((node) => node.readPositions())).size === 1;
}
