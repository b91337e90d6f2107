/**
 * One database at one moment, for comparing: a connection of its own that reads and never writes, in one read
 * transaction from `open` to `close`. As long as it is open the WAL cannot be reset behind it, so whoever holds one
 * bounds how long.
 */
import { errorText, MarmotError } from "../../errors.ts";
import type { Value } from "../../wire/value.ts";
import { HiddenRows } from "../apply/hidden_rows.ts";
import { ChangeLog } from "../capture/change_log.ts";
import type { Connection } from "../connection.ts";
import { openDatabaseReadOnly } from "../open_database.ts";
import { RowAccess } from "../rows/row_access.ts";
import { foldName } from "../schema/identifiers.ts";
import { type KeyIdentity, keyIdentity } from "../schema/key.ts";
import { readKnownTables } from "../schema/known_tables.ts";
import { type ExcludedTable, readSchema, type TableSchema } from "../schema/schema.ts";
import { readNodeId } from "../state/meta.ts";
import { entryKinds, hasStateTables } from "../state/state_tables.ts";
import { RowHasher } from "./row_digest.ts";
import { digestKeys, digestTable, type KeyDigest, type Pace, type TableDigest } from "./table_digest.ts";

/** Change log entries that are read at once. */
const READ_LIMIT = 500;
/** Keys that may be on their way in one database; with more it is too far from rest to be compared. */
export const MAX_UNSETTLED = 20_000;

/** What a table looks like, as far as copies of it must agree to be comparable. */
export interface TableShape {
  readonly name: string;
  /** The replicated columns, null for the rowid, and their declared types. */
  readonly columns: readonly (readonly [name: string | null, type: string])[];
  /** Names of the key's columns with their collations. */
  readonly key: readonly (readonly [name: string | null, collation: string])[];
  readonly uniqueSignature: string;
}

/** Hashes of the identities of a table's keys whose rows are not at rest. */
export interface UnsettledKeys {
  readonly table: string;
  /** Captured here, not settled. */
  readonly pending: readonly string[];
  /** Arrived here, kept aside until a clash is decided. */
  readonly hidden: readonly string[];
}

export interface SnapshotDescription {
  /** The node that uses the database, null where Marmot never did. */
  readonly nodeId: string | null;
  /** Nodes whose messages were read, this one included. */
  readonly origins: readonly string[];
  /** Last sequence applied of each stream. */
  readonly cursors: readonly (readonly [stream: string, sequence: number])[];
  readonly tables: readonly TableShape[];
  /** Tables that are not replicated. */
  readonly excluded: readonly ExcludedTable[];
  /** Tables at rest are left out. */
  readonly unsettled: readonly UnsettledKeys[];
  /** Tables whose events wait for a schema that fits, and how many do. */
  readonly parked: readonly (readonly [table: string, events: number])[];
}

export class DatabaseSnapshot {
  readonly #connection: Connection;
  readonly #tables: ReadonlyMap<string, TableSchema>;
  readonly #schemaExcluded: readonly ExcludedTable[];
  #isClosed = false;

  private constructor(connection: Connection) {
    this.#connection = connection;
    const { tables, excluded } = readSchema(connection);
    const unusable: ExcludedTable[] = [];
    const usable = tables.filter((table) => {
      try {
        // As arming does: a table that cannot be written to is not replicated.
        new RowAccess(connection, table).compileWrites();
        return true;
      } catch (error) {
        unusable.push({ name: table.name, reason: `its statements do not compile: ${errorText(error)}` });
        return false;
      }
    });
    this.#tables = new Map(usable.map((table) => [foldName(table.name), table]));
    this.#schemaExcluded = [...excluded, ...unusable];
  }

  /** Opens the database as it is now. Throws MarmotError where that is impossible. */
  static open(path: string, { busyTimeoutMs }: { busyTimeoutMs: number }): DatabaseSnapshot {
    const connection = openDatabaseReadOnly(path, busyTimeoutMs);
    try {
      connection.exec("BEGIN");
      return new DatabaseSnapshot(connection);
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Throws MarmotError where too much is on its way. */
  async describe(pace: Pace): Promise<SnapshotDescription> {
    const connection = this.#connection;
    const tables = [...this.#tables.values()].map(shapeOf);
    const nothing = { nodeId: null, origins: [], cursors: [], unsettled: [], parked: [] };
    const excluded = this.#schemaExcluded;
    if (!hasStateTables(connection)) return { ...nothing, tables, excluded };
    const cursors = connection.statement("SELECT name, cursor FROM __marmot__stream").all();
    const parked = connection.statement("SELECT table_name, count(*) FROM __marmot__parked GROUP BY 1").all();
    const origins = connection.statement("SELECT DISTINCT origin FROM __marmot__origin ORDER BY 1").all();
    return {
      nodeId: readNodeId(connection)?.toString() ?? null,
      origins: origins.map(([origin]) => String(origin)),
      cursors: cursors.map(([name, cursor]) => [String(name), Number(cursor)]),
      tables,
      excluded,
      unsettled: await this.#readUnsettled(pace),
      parked: parked.map(([name, count]) => [String(name), Number(count)]),
    };
  }

  digestTable(request: DigestRequest): Promise<TableDigest> {
    return digestTable(this.#scanOf(request));
  }

  digestKeys(request: DigestRequest, buckets: ReadonlySet<number>): Promise<KeyDigest[]> {
    return digestKeys(this.#scanOf(request), buckets);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#connection.close();
  }

  #scanOf({ table: name, columns, excluded, pace }: DigestRequest) {
    const table = this.#tables.get(foldName(name));
    if (!table) throw new MarmotError("schema", `There is no table "${name}" here`);
    return { connection: this.#connection, table, columns, excluded, pace };
  }

  async #readUnsettled(pace: Pace): Promise<UnsettledKeys[]> {
    const connection = this.#connection;
    const known = readKnownTables(connection).filter(({ isDropped }) => !isDropped);
    const keys = new Map<number, KeySet>();
    for (const { id, name } of known) {
      const table = this.#tables.get(foldName(name));
      if (table) keys.set(id, new KeySet(table));
    }
    const hidden = new HiddenRows(connection);
    hidden.load();
    for (const [id, set] of keys) for (const { identity } of hidden.all(id)) set.add("hidden", identity);
    const log = new ChangeLog(connection);
    let count = 0;
    for (let after = 0, isEnd = false; !isEnd;) {
      const entries = log.read(after, READ_LIMIT);
      for (const { tableId, kind, key } of entries) {
        if (kind === entryKinds.settled) continue;
        keys.get(tableId)?.addKey(key);
        if (++count > MAX_UNSETTLED) throw unsettledError();
      }
      after = entries.at(-1)?.id ?? after;
      isEnd = entries.length < READ_LIMIT;
      const pause = pace();
      if (pause) await pause;
    }
    return [...keys.values()].filter((set) => !set.isEmpty).map((set) => set.toKeys());
  }
}

/** Gathers keys of one table that are not at rest. */
class KeySet {
  readonly #hasher = new RowHasher();
  readonly #found = { pending: new Set<string>(), hidden: new Set<string>() };

  constructor(readonly table: TableSchema) {}

  add(state: "pending" | "hidden", identity: KeyIdentity): void {
    this.#hasher.hashIdentity(identity);
    this.#found[state].add(this.#hasher.identityText);
  }

  /** A key as the change log has it, which is as wide as the widest key. */
  addKey(key: readonly Value[]): void {
    const { table } = this;
    this.add("pending", keyIdentity(key.slice(0, table.key.length), table.keyCollations));
  }

  get isEmpty(): boolean {
    return this.#found.pending.size + this.#found.hidden.size === 0;
  }

  toKeys(): UnsettledKeys {
    const { pending, hidden } = this.#found;
    return { table: this.table.name, pending: [...pending], hidden: [...hidden] };
  }
}

export interface DigestRequest {
  readonly table: string;
  /** As in TableScan. */
  readonly columns: readonly (string | null)[];
  readonly excluded: ReadonlySet<string>;
  readonly pace: Pace;
}

function shapeOf(table: TableSchema): TableShape {
  return {
    name: table.name,
    columns: table.columns.map((column) => [column.name, column.declaredType]),
    key: table.key.map((position, i) => [
      table.columns[position]?.name ?? null,
      table.keyCollations[i] ?? "BINARY",
    ]),
    uniqueSignature: table.uniqueSignature,
  };
}

function unsettledError(): MarmotError {
  return new MarmotError(
    "database",
    `More than ${MAX_UNSETTLED} changes are not published and read back yet`,
    {
      hint: "Let the node catch up, then verify again.",
    },
  );
}
