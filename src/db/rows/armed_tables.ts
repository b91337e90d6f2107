/** The tables that are replicated now: armed with capture triggers, and ready to be read and written. */
import type { Connection } from "../connection.ts";
import { foldName } from "../schema/identifiers.ts";
import type { KnownTable, TableMemory } from "../schema/known_tables.ts";
import { KeyRanges } from "./key_ranges.ts";
import { type BatchMapping, RowAccess } from "./row_access.ts";
import type { TableSchema } from "../schema/schema.ts";
import { UniqueClashes } from "./unique_clashes.ts";

/** A trigger of the application that is taken away while Marmot writes to its table. */
export interface SuspendedTrigger {
  readonly name: string;
  readonly sql: string;
}

export class ArmedTable {
  readonly rows: RowAccess;
  readonly clashes: UniqueClashes;
  readonly ranges: KeyRanges;
  suspendedTriggers: readonly SuspendedTrigger[] = [];
  /** Kept by column_mapping.ts. */
  readonly mappings = new Map<string, BatchMapping>();

  constructor(
    connection: Connection,
    readonly schema: TableSchema,
    /** __marmot__table.id, and the id in the names of its triggers. */
    readonly identity: KnownTable,
  ) {
    this.rows = new RowAccess(connection, schema);
    this.clashes = new UniqueClashes(connection, schema, identity.id);
    this.ranges = new KeyRanges(connection, schema);
  }

  get id(): number {
    return this.identity.id;
  }

  get memory(): TableMemory {
    return this.identity.memory;
  }
}

export class ArmedTables {
  #byId = new Map<number, ArmedTable>();
  #byName = new Map<string, ArmedTable>();

  set(tables: readonly ArmedTable[]): void {
    this.#byId = new Map(tables.map((table) => [table.id, table]));
    this.#byName = new Map(tables.map((table) => [foldName(table.schema.name), table]));
  }

  byId(id: number): ArmedTable | undefined {
    return this.#byId.get(id);
  }

  byName(name: string): ArmedTable | undefined {
    return this.#byName.get(foldName(name));
  }

  all(): ArmedTable[] {
    return [...this.#byId.values()];
  }
}
