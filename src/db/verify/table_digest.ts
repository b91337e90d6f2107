/**
 * What two copies of a table are compared by, from coarse to fine: a digest per bucket of keys for all rows, then a
 * digest per key for the buckets that differ. A key falls into the bucket of its identity's hash, so rows of one key
 * stand in one bucket everywhere, whatever their storage classes are.
 */
import { MarmotError } from "../../errors.ts";
import type { Value } from "../../wire/value.ts";
import { keyIdentity } from "../schema/key.ts";
import type { TableSchema } from "../schema/schema.ts";
import type { Connection } from "../connection.ts";
import { foldName } from "../schema/identifiers.ts";
import { addDigest, digestAt, newDigests, RowHasher } from "./row_digest.ts";
import { type ScannedRow, scanRows, valueAt } from "./row_scan.ts";
import { showValue } from "./show_value.ts";

/** Part of what nodes compare, so a change needs another protocol version. */
export const BUCKETS = 16_384;
/** Between two calls of `pace`. */
const PACE = { rows: 32, bytes: 64 * 1024 };

/** Called between rows; what it returns is waited for. */
export type Pace = () => Promise<void> | undefined;

export interface TableScan {
  readonly connection: Connection;
  readonly table: TableSchema;
  /** The columns to compare, folded; null for the rowid. All that compare name the same in the same order. */
  readonly columns: readonly (string | null)[];
  /** Hashes of the identities of keys that are left out. */
  readonly excluded: ReadonlySet<string>;
  readonly pace: Pace;
}

export interface TableDigest {
  /** All rows of the table. */
  readonly rows: number;
  /** Rows that were left out. */
  readonly leftOut: number;
  /** Number, rows and digest of each bucket that has rows, ascending. */
  readonly buckets: readonly (readonly [bucket: number, rows: number, digest: string])[];
}

/** One key: the hash of its identity, how many rows it has, the digest of these, and the key for people. */
export type KeyDigest = readonly [identity: string, rows: number, digest: string, shown: string];

export async function digestTable(scan: TableScan): Promise<TableDigest> {
  const { excluded } = scan;
  const sums = newDigests(BUCKETS);
  const counts = new Uint32Array(BUCKETS);
  let rows = 0;
  let leftOut = 0;
  await visitRows(scan, ({ hasher, hashRow }) => {
    rows++;
    if (excluded.size > 0 && excluded.has(hasher.identityText)) {
      leftOut++;
      return;
    }
    const bucket = bucketOf(hasher);
    hashRow();
    counts[bucket]!++;
    addDigest(sums, bucket, hasher.row);
  });
  const buckets: [number, number, string][] = [];
  for (const [bucket, count] of counts.entries()) {
    if (count > 0) buckets.push([bucket, count, digestAt(sums, bucket)]);
  }
  return { rows, leftOut, buckets };
}

/** The keys of some buckets. The caller has seen how many rows that are: all of them are held in memory. */
export async function digestKeys(scan: TableScan, buckets: ReadonlySet<number>): Promise<KeyDigest[]> {
  const { excluded, table } = scan;
  const found = new Map<string, { rows: number; sum: Uint32Array; shown: string }>();
  await visitRows(scan, ({ hasher, key, hashRow }) => {
    if (!buckets.has(bucketOf(hasher))) return;
    const identity = hasher.identityText;
    if (excluded.has(identity)) return;
    hashRow();
    const known = found.get(identity);
    const entry = known ?? { rows: 0, sum: newDigests(1), shown: showKey(table, key()) };
    entry.rows++;
    addDigest(entry.sum, 0, hasher.row);
    if (!known) found.set(identity, entry);
  });
  return [...found].map(([identity, { rows, sum, shown }]) => [identity, rows, digestAt(sum, 0), shown]);
}

/** What is known of a row while it is visited; its key is hashed, its values are when `hashRow` is called. */
interface VisitedRow {
  readonly hasher: RowHasher;
  readonly key: () => Value[];
  readonly hashRow: () => void;
}

async function visitRows(scan: TableScan, visit: (row: VisitedRow) => void): Promise<void> {
  const { connection, table, pace } = scan;
  const hasher = new RowHasher();
  const compared = positionsOf(table, scan.columns);
  // The key is read even where it is not compared: its rows are told apart by it.
  const rows = scanRows(connection, table.name, table.columns.map((column) => column.sql));
  let [turnRows, turnBytes] = [0, 0];
  let current: ScannedRow | undefined;
  const key = () => table.key.map((position) => valueAt(current!, position));
  const hashRow = () => void (turnBytes += hasher.hashRow(current!, compared));
  const visited: VisitedRow = { hasher, key, hashRow };
  for (current of rows) {
    hasher.hashIdentity(keyIdentity(key(), table.keyCollations));
    visit(visited);
    if (++turnRows < PACE.rows && turnBytes < PACE.bytes) continue;
    [turnRows, turnBytes] = [0, 0];
    const pause = pace();
    if (pause) await pause;
  }
}

function bucketOf(hasher: RowHasher): number {
  return hasher.identityBits % BUCKETS;
}

function positionsOf(table: TableSchema, columns: readonly (string | null)[]): number[] {
  const positions = new Map(
    table.columns.map(({ name }, position) => [name === null ? null : foldName(name), position]),
  );
  return columns.map((name) => {
    const position = positions.get(name);
    if (position !== undefined) return position;
    throw new MarmotError("schema", `Table "${table.name}" has no column ${name ?? "rowid"}`);
  });
}

function showKey(table: TableSchema, key: readonly Value[]): string {
  return key.map((value, i) => `${table.columns[table.key[i]!]!.name ?? "rowid"} = ${showValue(value)}`)
    .join(", ");
}
