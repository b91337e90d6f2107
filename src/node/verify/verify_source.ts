/**
 * What `marmot verify` compares: copies of the same tables, each a database file here or a node that answers over NATS.
 * All calls tell of one moment of the copy, that of its snapshot.
 */
import type { SnapshotDescription } from "../../db/verify/database_snapshot.ts";
import type { KeyDigest, TableDigest } from "../../db/verify/table_digest.ts";
import { MarmotError } from "../../errors.ts";

export interface VerifySource {
  /** What the report calls it: a path, "node 3". */
  readonly name: string;
  describe(): Promise<SnapshotDescription>;
  /** Leaves keys of a table out of all that follows, by the hashes of their identities. */
  exclude(table: string, identities: readonly string[]): Promise<void>;
  /** Digests of all buckets of a table over `columns`: folded names, null for the rowid. */
  digestTable(table: string, columns: readonly (string | null)[]): Promise<TableDigest>;
  digestKeys(
    table: string,
    columns: readonly (string | null)[],
    buckets: readonly number[],
  ): Promise<KeyDigest[]>;
  close(): Promise<void>;
}

/** A source that cannot be compared any further; the others can. */
export class SourceLostError extends MarmotError {
  override readonly name = "SourceLostError";

  constructor(reason: string) {
    super("broker", reason);
  }
}
