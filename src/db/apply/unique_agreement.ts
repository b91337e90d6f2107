/**
 * Nodes whose UNIQUE indexes differ, as in a rollout: the same event displaces rows on one node and none on another. So
 * while they differ, who displaces a row publishes that it is gone; and who learns that they differ, or changes its own
 * indexes, publishes what it has displaced of late. Both go as backfill: nothing that this node has not read is overwritten.
 */
import { SchemaMismatchError } from "../../errors.ts";
import type { NodeId } from "../../wire/batch.ts";
import type { BatchBody } from "../../wire/batch_codec.ts";
import type { Value } from "../../wire/value.ts";
import type { ChangeLog } from "../capture/change_log.ts";
import type { Connection } from "../connection.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import { mapColumns } from "../rows/column_mapping.ts";
import type { ConflictJournal } from "./conflict_journal.ts";
import { keyed } from "./keyed_events.ts";

/** Origins that are remembered per table: anyone may publish under any id. */
const MAX_ORIGINS = 100;
/** Signatures are short; what is longer differs from ours anyway. */
const MAX_SIGNATURE = 32;
/** Displaced rows that are published when indexes are found to differ. */
const MAX_DISPLACED = 1000;

export class UniqueAgreement {
  readonly #connection: Connection;
  readonly #log: ChangeLog;
  readonly #journal: ConflictJournal;
  /** Signatures of origins by table id: those that differed from ours when they were read. */
  readonly #others = new Map<number, Map<NodeId, string>>();

  constructor(connection: Connection, { log, journal }: { log: ChangeLog; journal: ConflictJournal }) {
    this.#connection = connection;
    this.#log = log;
    this.#journal = journal;
  }

  load(): void {
    this.#others.clear();
    const rows = this.#connection.statement("SELECT table_id, origin, signature FROM __marmot__unique").all();
    for (const [id, origin, signature] of rows) {
      this.#othersOf(Number(id)).set(BigInt(String(origin)), String(signature));
    }
  }

  /** Whether an origin is known that has other UNIQUE indexes on the table. */
  isDisputed(table: ArmedTable): boolean {
    for (const signature of this.#others.get(table.id)?.values() ?? []) {
      if (signature !== table.schema.uniqueSignature) return true;
    }
    return false;
  }

  /** Notes what an origin's event says. Returns how many rows are published because of what it tells. */
  note(table: ArmedTable, origin: NodeId, signature: string): number {
    const others = this.#others.get(table.id);
    const isEqual = signature === table.schema.uniqueSignature;
    if (isEqual && !others?.has(origin)) return 0;
    const kept = signature.slice(0, MAX_SIGNATURE);
    if (others?.get(origin) === kept) return 0;
    const row: Value[] = [BigInt(table.id), origin.toString()];
    if (isEqual) {
      others?.delete(origin);
      this.#connection.statement("DELETE FROM __marmot__unique WHERE table_id = ? AND origin = ?").run(row);
      return 0;
    }
    if ((others?.size ?? 0) >= MAX_ORIGINS) return 0;
    this.#othersOf(table.id).set(origin, kept);
    this.#connection.statement(
      "INSERT OR REPLACE INTO __marmot__unique (table_id, origin, signature) VALUES (?, ?, ?)",
    ).run([...row, kept]);
    return this.publishDisplaced(table);
  }

  /** Publishes what the row is, or that it is gone. */
  publish(table: ArmedTable, key: readonly Value[]): void {
    this.#log.backfillKey(table.id, key);
  }

  /** Publishes that the rows are gone which lost a UNIQUE value of late, and returns how many those are. */
  publishDisplaced(table: ArmedTable): number {
    const published = new Set<unknown>();
    for (const body of this.#journal.displaced(table.schema.name, MAX_DISPLACED)) {
      const row = keyOf(table, body);
      if (!row || published.has(row.identity) || table.rows.has(row.key)) continue;
      published.add(row.identity);
      this.publish(table, row.key);
    }
    return published.size;
  }

  #othersOf(tableId: number): Map<NodeId, string> {
    const others = this.#others.get(tableId) ?? new Map<NodeId, string>();
    this.#others.set(tableId, others);
    return others;
  }
}

/** The key of a journal's image, undefined where it has no place in the table any more. */
function keyOf(table: ArmedTable, body: BatchBody): ReturnType<typeof keyed> | undefined {
  const event = body.events[0];
  try {
    return event && keyed(table, mapColumns(table, body), event);
  } catch (error) {
    if (error instanceof SchemaMismatchError) return undefined;
    throw error;
  }
}
