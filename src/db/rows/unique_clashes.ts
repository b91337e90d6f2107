/**
 * Which rows of a table a new row clashes with, by its UNIQUE indexes besides the key. Indexes on expressions,
 * on generated columns or on part of the rows are evaluated by SQLite itself, on a candidate: a temporary
 * table of the same declaration that holds just the new row.
 */
import type { Value } from "../../wire/value.ts";
import type { Connection } from "../connection.ts";
import { ExactSelect } from "./exact_select.ts";
import { MARMOT_PREFIX, quoteIdentifier } from "../schema/identifiers.ts";
import { type KeyIdentity, keyIdentity } from "../schema/key.ts";
import { columnAt, type ColumnMapping, placeholder } from "./row_access.ts";
import type { TableSchema, UniqueIndex } from "../schema/schema.ts";

export class UniqueClashes {
  readonly #candidate: string;
  readonly #isCandidateNeeded: boolean;

  constructor(readonly connection: Connection, readonly schema: TableSchema, tableId: number) {
    this.#candidate = `temp.${quoteIdentifier(`${MARMOT_PREFIX}candidate_${tableId}`)}`;
    this.#isCandidateNeeded = schema.uniqueIndexes.some((index) => index.positions === null);
  }

  get isEmpty(): boolean {
    return this.schema.uniqueIndexes.length === 0;
  }

  /** Makes the candidate table anew. Call when the table is armed. */
  prepare(): void {
    if (!this.#isCandidateNeeded) return;
    this.connection.exec(`DROP TABLE IF EXISTS ${this.#candidate}`);
    this.connection.exec(
      `CREATE TABLE ${this.#candidate} ${this.schema.sql.slice(bodyStart(this.schema.sql))}`,
    );
  }

  /** Keys of the rows that the row clashes with, itself perhaps among them. */
  find(mapping: ColumnMapping, row: readonly Value[]): Value[][] {
    this.#setCandidate(mapping, row);
    const keyColumns = this.schema.key.map((position) => columnAt(this.schema, position).sql);
    const table = quoteIdentifier(this.schema.name);
    return this.schema.uniqueIndexes.flatMap((index) => {
      const values = plainValues(index, mapping, row);
      if (values === null) return [];
      const condition = index.positions ? plainCondition(index, values) : this.#candidateCondition(index);
      return new ExactSelect(this.connection, keyColumns, `FROM ${table} WHERE ${condition}`).all(values);
    });
  }

  /** What the row holds in each index: two rows clash if they hold the same, not null, in one. */
  identities(mapping: ColumnMapping, row: readonly Value[]): (KeyIdentity | null)[] {
    this.#setCandidate(mapping, row);
    return this.schema.uniqueIndexes.map((index) => {
      const values = index.positions ? plainValues(index, mapping, row) : this.#candidateValues(index);
      return values === null || values.includes(null) ? null : keyIdentity(values, index.collations);
    });
  }

  #setCandidate(mapping: ColumnMapping, row: readonly Value[]): void {
    if (!this.#isCandidateNeeded) return;
    const columns = mapping.targets.map((position) => columnAt(this.schema, position).sql).join(", ");
    const values = mapping.sources.map((source) => row[source] ?? null);
    this.connection.statement(`DELETE FROM ${this.#candidate}`).run();
    this.connection.statement(
      `INSERT INTO ${this.#candidate} (${columns}) VALUES (${values.map(placeholder).join(", ")})`,
    ).run(values);
  }

  #candidateCondition(index: UniqueIndex): string {
    const where = index.where === null ? "" : ` WHERE ${index.where}`;
    const terms = index.terms.map((term, i) =>
      `${term} COLLATE ${
        quoteIdentifier(index.collations[i] ?? "BINARY")
      } = (SELECT ${term} FROM ${this.#candidate}${where})`
    );
    return [...(index.where === null ? [] : [`(${index.where})`]), ...terms].join(" AND ");
  }

  #candidateValues(index: UniqueIndex): Value[] | null {
    const where = index.where === null ? "" : ` WHERE ${index.where}`;
    return new ExactSelect(this.connection, index.terms, `FROM ${this.#candidate}${where}`).all([])[0] ??
      null;
  }
}

/** The values of a plain index; [] for one that the candidate answers; null if none can clash. */
function plainValues(index: UniqueIndex, mapping: ColumnMapping, row: readonly Value[]): Value[] | null {
  if (index.positions === null) return [];
  const values: Value[] = [];
  for (const position of index.positions) {
    const at = mapping.targets.indexOf(position);
    const value = at === -1 ? null : row[mapping.sources[at] ?? -1] ?? null;
    if (value === null) return null;
    values.push(value);
  }
  return values;
}

function plainCondition(index: UniqueIndex, values: readonly Value[]): string {
  return index.terms.map((term, i) =>
    `${term} COLLATE ${quoteIdentifier(index.collations[i] ?? "BINARY")} = ${placeholder(values[i] ?? null)}`
  ).join(" AND ");
}

/** Where the columns begin in a CREATE TABLE statement: behind the name, which may be quoted. */
function bodyStart(sql: string): number {
  const name = /^\s*CREATE\s+TABLE\s+(?:"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|'(?:[^']|'')*'|[^\s(]+)\s*/i
    .exec(sql);
  return name ? name[0].length : sql.indexOf("(");
}
