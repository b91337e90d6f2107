/**
 * Compares copies table by table: digests of buckets first, then the keys of the buckets that differ, as many as memory
 * and the wished number of names allow. Rows that are on their way on any copy are left out on all.
 */
import type { SnapshotDescription } from "../../db/verify/database_snapshot.ts";
import type { KeyDigest, TableDigest } from "../../db/verify/table_digest.ts";
import { foldName } from "../../db/schema/identifiers.ts";
import { type ComparableTable, compareSchemas } from "./schema_comparison.ts";
import { SourceLostError, type VerifySource } from "./verify_source.ts";

/** Rows of a copy whose keys are held in memory, and sent, at once: a node writes them as JSON in one go. */
const ROWS_PER_PASS = 8_000;
/** Buckets that are asked for at once: the question must fit in one message. */
const BUCKETS_PER_PASS = 1_000;
/** Each pass reads the table once more; one finds the usual number of rows to name. */
const MAX_PASSES = 50;

/** Numbers inside of text in the order of their values. */
const inOrder = new Intl.Collator("en", { numeric: true });

export interface RowDifference {
  /** Its key, as "id = 5". */
  readonly key: string;
  /** Copies that hold the same stand together; the larger group first. */
  readonly versions: readonly (readonly string[])[];
  /** Copies without it. */
  readonly missingOn: readonly string[];
}

export interface TableReport {
  readonly name: string;
  readonly verdict: "equal" | "differing" | "not compared";
  /** Rows of each copy that was compared. */
  readonly rows: readonly { readonly copy: string; readonly rows: number }[];
  /** Keys that were left out because they are on their way: captured and not settled somewhere; set aside somewhere. */
  readonly pendingKeys: number;
  readonly hiddenKeys: number;
  readonly schemaDifferences: readonly string[];
  readonly obstacles: readonly string[];
  readonly differences: readonly RowDifference[];
  /** Keys known to differ, named or not. */
  readonly differingKeys: number;
  /** Buckets that differ and whose keys were not looked at: each holds at least one further key that differs. */
  readonly unreadBuckets: number;
}

export interface CopyReport {
  readonly name: string;
  readonly nodeId: string | null;
  readonly cursors: SnapshotDescription["cursors"];
  /** Nodes whose messages were read. */
  readonly origins: readonly string[];
}

export interface LostCopy {
  readonly name: string;
  readonly reason: string;
}

export interface VerifyReport {
  readonly copies: readonly CopyReport[];
  /** Copies that could not be compared, or not to the end, and why. */
  readonly lost: readonly LostCopy[];
  /** Of running nodes: those whose messages were read and that took no part, stopped, out of reach, or retired. */
  readonly absentNodes: readonly string[];
  readonly tables: readonly TableReport[];
}

interface Copy {
  readonly name: string;
  readonly source: VerifySource;
  readonly description: SnapshotDescription;
}

/** Compares what the sources hold, and names at most `limit` rows of each table. The sources stay open. */
export async function compareSources(
  sources: readonly VerifySource[],
  { limit, lost = [] }: { limit: number; lost?: readonly LostCopy[] },
): Promise<VerifyReport> {
  const comparison = new Comparison(limit, lost);
  return await comparison.run(sources);
}

class Comparison {
  readonly #limit: number;
  readonly #lost: Map<string, string>;

  constructor(limit: number, lost: readonly LostCopy[]) {
    this.#limit = limit;
    this.#lost = new Map(lost.map(({ name, reason }) => [name, reason]));
  }

  async run(sources: readonly VerifySource[]): Promise<VerifyReport> {
    const named = sources.map((source) => ({ name: source.name, source }));
    const described = await this.#askAll(named, ({ source }) => source.describe());
    const copies = described.map(([{ name, source }, description]) => ({ name, source, description }));
    const tables: TableReport[] = [];
    for (const table of compareSchemas<Copy>(copies)) tables.push(await this.#compareTable(table));
    return {
      copies: copies.map(({ name, description }) => ({
        name,
        nodeId: description.nodeId,
        cursors: description.cursors,
        origins: description.origins,
      })),
      lost: [...this.#lost].map(([name, reason]) => ({ name, reason })),
      absentNodes: [],
      tables,
    };
  }

  async #compareTable(table: ComparableTable<Copy>): Promise<TableReport> {
    const { name, columns, schemaDifferences, obstacles } = table;
    const unsettled = await this.#excludeUnsettled(table);
    const copies = table.copies.filter((copy) => !this.#lost.has(copy.name));
    const digests = copies.length < 2
      ? []
      : await this.#askAll(copies, ({ source }) => source.digestTable(name, columns));
    const rows = digests.map(([copy, digest]) => ({ copy: copy.name, rows: digest.rows }));
    const shared = { name, rows, ...unsettled, schemaDifferences, obstacles };
    const nothing = { differences: [], differingKeys: 0, unreadBuckets: 0 };
    if (digests.length < 2) return { ...shared, ...nothing, verdict: "not compared" };
    const buckets = differingBuckets(digests.map(([, digest]) => digest));
    const isEqual = buckets.length === 0 && schemaDifferences.length === 0;
    if (buckets.length === 0) {
      return { ...shared, ...nothing, verdict: isEqual ? "equal" : "differing" };
    }
    const found = await this.#nameRows(table, digests.map(([copy]) => copy), buckets);
    return { ...shared, ...found, verdict: "differing" };
  }

  async #excludeUnsettled(
    { name, copies }: ComparableTable<Copy>,
  ): Promise<{ pendingKeys: number; hiddenKeys: number }> {
    const pending = new Set<string>();
    const hidden = new Set<string>();
    for (const { description } of copies) {
      const keys = description.unsettled.find(({ table }) => foldName(table) === foldName(name));
      for (const identity of keys?.pending ?? []) pending.add(identity);
      for (const identity of keys?.hidden ?? []) hidden.add(identity);
    }
    const identities = [...pending.union(hidden)];
    if (identities.length > 0) await this.#askAll(copies, ({ source }) => source.exclude(name, identities));
    return { pendingKeys: pending.size, hiddenKeys: hidden.difference(pending).size };
  }

  /** Reads the keys of differing buckets until enough rows are named. */
  async #nameRows(
    { name, columns }: ComparableTable<Copy>,
    copies: readonly Copy[],
    buckets: readonly DifferingBucket[],
  ): Promise<Pick<TableReport, "differences" | "differingKeys" | "unreadBuckets">> {
    const differences: RowDifference[] = [];
    let differingKeys = 0;
    let next = 0;
    for (let pass = 0; pass < MAX_PASSES && next < buckets.length && differingKeys < this.#limit; pass++) {
      const chosen = chooseBuckets(buckets, next);
      const asked = copies.filter((copy) => !this.#lost.has(copy.name));
      const keys = await this.#askAll(asked, ({ source }) => source.digestKeys(name, columns, chosen));
      if (keys.length < 2) break;
      next += chosen.length;
      for (const difference of differingRows(keys.map(([copy, digests]) => ({ copy: copy.name, digests })))) {
        differingKeys++;
        if (differences.length < this.#limit) differences.push(difference);
      }
    }
    differences.sort((a, b) => inOrder.compare(a.key, b.key));
    return { differences, differingKeys, unreadBuckets: buckets.length - next };
  }

  /** Asks all at once. Who is lost is noted, and left out of what is returned. */
  async #askAll<C extends { readonly name: string }, T>(
    copies: readonly C[],
    question: (copy: C) => Promise<T>,
  ): Promise<[C, T][]> {
    const present = copies.filter((copy) => !this.#lost.has(copy.name));
    const outcomes = await Promise.allSettled(present.map((copy) => question(copy)));
    const answers: [C, T][] = [];
    for (const [i, outcome] of outcomes.entries()) {
      const copy = present[i]!;
      if (outcome.status === "fulfilled") answers.push([copy, outcome.value]);
      else if (outcome.reason instanceof SourceLostError) this.#lost.set(copy.name, outcome.reason.message);
      else throw outcome.reason;
    }
    return answers;
  }
}

interface DifferingBucket {
  readonly bucket: number;
  /** Rows of the copy that has the most in it. */
  readonly rows: number;
}

function differingBuckets(digests: readonly TableDigest[]): DifferingBucket[] {
  const [first, ...others] = digests.map(({ buckets }) =>
    new Map(buckets.map(([bucket, rows, digest]) => [bucket, { rows, digest }]))
  );
  const all = [first!, ...others];
  const numbers = new Set(all.flatMap((copy) => [...copy.keys()]));
  return [...numbers].sort((a, b) => a - b).flatMap((bucket) => {
    const contents = all.map((copy) => copy.get(bucket));
    const isEqual = contents.every((content) =>
      content?.rows === contents[0]?.rows && content?.digest === contents[0]?.digest
    );
    return isEqual ? [] : [{ bucket, rows: Math.max(...contents.map((content) => content?.rows ?? 0)) }];
  });
}

/** From `next` on, as many as have few enough rows; at least one. */
function chooseBuckets(buckets: readonly DifferingBucket[], next: number): number[] {
  const chosen: number[] = [];
  let rows = 0;
  for (const bucket of buckets.slice(next, next + BUCKETS_PER_PASS)) {
    rows += bucket.rows;
    if (chosen.length > 0 && rows > ROWS_PER_PASS) break;
    chosen.push(bucket.bucket);
  }
  return chosen;
}

function differingRows(copies: readonly { copy: string; digests: readonly KeyDigest[] }[]): RowDifference[] {
  const byIdentity = new Map<string, { key: string; holders: Map<string, string> }>();
  for (const { copy, digests } of copies) {
    for (const [identity, rows, digest, key] of digests) {
      const known = byIdentity.get(identity) ?? { key, holders: new Map() };
      known.holders.set(copy, `${rows} ${digest}`);
      byIdentity.set(identity, known);
    }
  }
  const names = copies.map(({ copy }) => copy);
  return [...byIdentity.values()].flatMap(({ key, holders }) => {
    const byContent = Map.groupBy(names.filter((name) => holders.has(name)), (name) => holders.get(name));
    const missingOn = names.filter((name) => !holders.has(name));
    if (byContent.size === 1 && missingOn.length === 0) return [];
    const versions = [...byContent.values()].sort((a, b) => b.length - a.length);
    return [{ key, versions, missingOn }];
  });
}
