/** A database file as a source to compare. The process has nothing else to do, so it reads without pause. */
import type { SnapshotDescription } from "../../db/verify/database_snapshot.ts";
import { DatabaseSnapshot } from "../../db/verify/database_snapshot.ts";
import type { KeyDigest, TableDigest } from "../../db/verify/table_digest.ts";
import { foldName } from "../../db/schema/identifiers.ts";
import type { VerifySource } from "./verify_source.ts";

/** How long it waits for a lock: nodes and applications hold it for milliseconds. */
const BUSY_TIMEOUT_MS = 5000;
/** A signal must be seen while a large table is read. */
const TURN_MS = 50;

export class FileSource implements VerifySource {
  readonly name: string;
  readonly #snapshot: DatabaseSnapshot;
  readonly #excluded = new Map<string, Set<string>>();
  readonly #stop: AbortSignal;
  #turnAtMs = performance.now() + TURN_MS;

  /** Opens the database for reading, as it is now. Throws MarmotError. */
  constructor(path: string, stop: AbortSignal) {
    this.name = path;
    this.#stop = stop;
    this.#snapshot = DatabaseSnapshot.open(path, { busyTimeoutMs: BUSY_TIMEOUT_MS });
  }

  describe(): Promise<SnapshotDescription> {
    return this.#snapshot.describe(this.#pace);
  }

  exclude(table: string, identities: readonly string[]): Promise<void> {
    const excluded = this.#excludedOf(table);
    for (const identity of identities) excluded.add(identity);
    return Promise.resolve();
  }

  digestTable(table: string, columns: readonly (string | null)[]): Promise<TableDigest> {
    return this.#snapshot.digestTable({
      table,
      columns,
      excluded: this.#excludedOf(table),
      pace: this.#pace,
    });
  }

  digestKeys(
    table: string,
    columns: readonly (string | null)[],
    buckets: readonly number[],
  ): Promise<KeyDigest[]> {
    const request = { table, columns, excluded: this.#excludedOf(table), pace: this.#pace };
    return this.#snapshot.digestKeys(request, new Set(buckets));
  }

  close(): Promise<void> {
    this.#snapshot.close();
    return Promise.resolve();
  }

  #excludedOf(table: string): Set<string> {
    const name = foldName(table);
    const excluded = this.#excluded.get(name) ?? new Set();
    this.#excluded.set(name, excluded);
    return excluded;
  }

  readonly #pace = (): Promise<void> | undefined => {
    if (performance.now() < this.#turnAtMs) return undefined;
    return new Promise((resolve, reject) =>
      setImmediate(() => {
        this.#turnAtMs = performance.now() + TURN_MS;
        if (this.#stop.aborted) reject(this.#stop.reason);
        else resolve();
      })
    );
  };
}
