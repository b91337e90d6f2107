/** Which tables several copies have in common, what of them can be compared, and how their schemas differ, in words. */
import type { SnapshotDescription, TableShape } from "../../db/verify/database_snapshot.ts";
import { foldName } from "../../db/schema/identifiers.ts";

/** A copy and what it says of itself. */
export interface DescribedCopy {
  readonly name: string;
  readonly description: SnapshotDescription;
}

export interface ComparableTable<T extends DescribedCopy> {
  /** As the first copy that has it calls it. */
  readonly name: string;
  /** The copies whose rows can be compared; fewer than two: none can. */
  readonly copies: readonly T[];
  /** The columns that all of these have, folded and in one order. */
  readonly columns: readonly (string | null)[];
  /** What differs in the schemas, one sentence each. */
  readonly schemaDifferences: readonly string[];
  /** Why a copy takes no part, one sentence each. */
  readonly obstacles: readonly string[];
}

/** All tables of all copies, by name. */
export function compareSchemas<T extends DescribedCopy>(copies: readonly T[]): ComparableTable<T>[] {
  const names = new Map<string, string>();
  for (const { description } of copies) {
    for (const { name } of [...description.tables, ...description.excluded]) {
      if (!names.has(foldName(name))) names.set(foldName(name), name);
    }
  }
  return [...names.values()].sort().map((name) => compareTable(name, copies));
}

function compareTable<T extends DescribedCopy>(name: string, copies: readonly T[]): ComparableTable<T> {
  const schemaDifferences: string[] = [];
  const obstacles: string[] = [];
  const having: { copy: T; shape: TableShape }[] = [];
  const missing: string[] = [];
  for (const copy of copies) {
    const shape = find(copy.description.tables, name);
    const excluded = find(copy.description.excluded, name);
    const parked = copy.description.parked.find(([table]) => foldName(table) === foldName(name));
    if (excluded) obstacles.push(`${copy.name} does not replicate it: ${excluded.reason}`);
    else if (!shape) missing.push(copy.name);
    else if (parked) {
      obstacles.push(`${copy.name} has parked it: ${parked[1]} messages wait for a schema that fits`);
    } else having.push({ copy, shape });
  }
  if (missing.length > 0) schemaDifferences.push(`no such table: ${missing.join(", ")}`);
  const first = having[0]?.shape;
  const comparable = having.filter(({ shape }) => first && keyOf(shape) === keyOf(first));
  for (const { copy, shape } of having) {
    if (!first || keyOf(shape) === keyOf(first)) continue;
    schemaDifferences.push(
      `its key is ${keyOf(shape)} on ${copy.name} and ${keyOf(first)} on ${
        having[0]?.copy.name
      }: not compared`,
    );
  }
  const columns = commonColumns(comparable.map(({ shape }) => shape));
  schemaDifferences.push(...describeColumns(comparable, columns));
  const signatures = new Set(comparable.map(({ shape }) => shape.uniqueSignature));
  if (signatures.size > 1) schemaDifferences.push("the UNIQUE indexes differ");
  return { name, copies: comparable.map(({ copy }) => copy), columns, schemaDifferences, obstacles };
}

function commonColumns(shapes: readonly TableShape[]): (string | null)[] {
  const [first, ...others] = shapes.map((shape) => new Set(typesOf(shape).keys()));
  const common = [...first ?? []].filter((name) => others.every((names) => names.has(name)));
  return common.sort((a, b) => a === b ? 0 : (a ?? "") < (b ?? "") ? -1 : 1);
}

function describeColumns(
  having: readonly { copy: DescribedCopy; shape: TableShape }[],
  common: readonly (string | null)[],
): string[] {
  const sentences: string[] = [];
  const compared = new Set(common);
  for (const { copy, shape } of having) {
    const own = shape.columns.filter(([name]) => !compared.has(fold(name)));
    if (own.length === 0) continue;
    const names = own.map(([name]) => name ?? "rowid").join(", ");
    sentences.push(`not on every copy, and not compared: ${names} (on ${copy.name})`);
  }
  const typesByCopy = having.map(({ copy, shape }) => ({ copy, typeOf: typesOf(shape) }));
  for (const name of common) {
    const types = new Map<string, string[]>();
    for (const { copy, typeOf } of typesByCopy) {
      const type = typeOf.get(name) ?? "";
      types.set(type, [...types.get(type) ?? [], copy.name]);
    }
    if (types.size < 2) continue;
    const said = [...types].map(([type, names]) => `${type || "without a type"} on ${names.join(", ")}`);
    sentences.push(`column ${name ?? "rowid"} is ${said.join(", ")}`);
  }
  return sentences;
}

function find<T extends { readonly name: string }>(tables: readonly T[], name: string): T | undefined {
  return tables.find((table) => foldName(table.name) === foldName(name));
}

/** Copies whose keys are not the same tell their rows apart in another way. */
function keyOf({ key }: TableShape): string {
  const columns = key.map(([name, collation]) => {
    const behind = foldName(collation) === "binary" ? "" : ` COLLATE ${collation.toUpperCase()}`;
    return `${name === null ? "rowid" : foldName(name)}${behind}`;
  });
  return `(${columns.join(", ")})`;
}

/** Declared types by folded names. */
function typesOf({ columns }: TableShape): Map<string | null, string> {
  return new Map(columns.map(([name, type]) => [fold(name), type.toUpperCase()]));
}

function fold(name: string | null): string | null {
  return name === null ? null : foldName(name);
}
