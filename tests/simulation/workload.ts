/**
 * What applications do in a history: statements over tables with every kind of key, on rows of their own or of all. A row
 * belongs to the owner that the last digit of its key names.
 */
import type { Random } from "./random.ts";
import type { DrawnColumn, SimulatedTable } from "./tables.ts";

/** A column that schema changes add while applications run. */
export interface GainedColumn {
  readonly table: string;
  readonly column: string;
}

export interface Workload {
  readonly tables: readonly SimulatedTable[];
  /** 0: rows of all. */
  readonly owner: number;
  /** How many keys there are: with few, changes of one row meet. */
  readonly keys: number;
  /** Values that come back: equal images are what an image alone cannot tell apart. */
  readonly values: readonly number[];
  /** Whether no other values come. */
  readonly isNarrow: boolean;
  readonly gained: readonly GainedColumn[];
}

/** One transaction of an application. */
export function drawTransaction(random: Random, workload: Workload): string[] {
  const gained = workload.gained.length > 0 ? random.pick(workload.gained) : undefined;
  if (gained && random.chance(0.3)) {
    return [`UPDATE ${gained.table} SET ${gained.column} = ${random.pick(workload.values)}`];
  }
  const count = random.chance(0.3) ? 2 + random.below(4) : 1;
  return Array.from({ length: count }, () => drawStatement(random, random.pick(workload.tables), workload));
}

function drawStatement(random: Random, table: SimulatedTable, workload: Workload): string {
  if (table.columns) return drawOnColumns(random, table, workload);
  const { owner, keys, values, isNarrow } = workload;
  const n = owner + 10 * random.below(keys);
  const other = owner + 10 * random.below(keys);
  const v = isNarrow || random.chance(0.6) ? random.pick(values) : random.below(60);
  const u = random.chance(0.3) ? "NULL" : `'${random.pick(["x", "y", "z"])}${owner}'`;
  const verb = random.pick(["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE", "REPLACE"]);
  const update = random.pick(["UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE"]);
  switch (table.name) {
    case "plain":
      return random.pick([
        `${verb} INTO plain (id, v) VALUES (${n}, ${v})`,
        `INSERT INTO plain (id, v) VALUES (${n}, ${v}) ON CONFLICT (id) DO UPDATE SET v = excluded.v`,
        `UPDATE plain SET v = ${v} WHERE id = ${n}`,
        `${update} plain SET id = ${other} WHERE id = ${n}`,
        `DELETE FROM plain WHERE id = ${n}`,
      ]);
    case "uniq":
      return random.pick([
        `${verb} INTO uniq (id, u, v) VALUES (${n}, ${u}, ${v})`,
        `${verb} INTO uniq (id, u, v) VALUES (${n}, ${u}, ${v})`,
        `${update} uniq SET u = ${u}, v = ${v} WHERE id = ${n}`,
        `${update} uniq SET id = ${other} WHERE id = ${n}`,
        `DELETE FROM uniq WHERE id = ${n}`,
        swap("uniq", "id", "u", [n, other]),
      ]);
    case "folded": {
      const k = `'${random.pick(["a", "A", "b", "B", "c"])}${owner}'`;
      return random.pick([
        `${verb} INTO folded (k, u, v) VALUES (${k}, ${u}, ${v})`,
        `${update} folded SET u = upper(${u}), v = ${v} WHERE k = ${k}`,
        `${update} folded SET k = upper(k) WHERE k = ${k}`,
        `DELETE FROM folded WHERE k = ${k}`,
      ]);
    }
    case "pairs": {
      const b = random.pick(["1", "1.0", "'1'", "x'01'"]);
      return random.pick([
        `${verb} INTO pairs (a, b, v) VALUES (${n}, ${b}, ${v})`,
        `${update} pairs SET b = ${random.pick(["1", "1.0", "'1'"])} WHERE a = ${n} AND b = ${b}`,
        `DELETE FROM pairs WHERE a = ${n} AND b = ${b}`,
      ]);
    }
    case "keyless":
      return random.pick([
        `INSERT OR REPLACE INTO keyless (rowid, v) VALUES (${n}, ${v})`,
        `UPDATE keyless SET v = ${v} WHERE rowid = ${n}`,
        `DELETE FROM keyless WHERE rowid = ${n}`,
      ]);
    case "loose": {
      const y = random.pick(["NULL", "NULL", "1"]);
      return random.pick([
        `${verb} INTO loose (x, y, u, v) VALUES (${n}, ${y}, ${u}, ${v})`,
        `${verb} INTO loose (x, y, u, v) VALUES (${n}, ${y}, ${u}, ${v})`,
        `${update} loose SET u = ${u}, v = ${v} WHERE x = ${n} AND y IS ${y}`,
        `DELETE FROM loose WHERE x = ${n} AND y IS ${y}`,
      ]);
    }
    default: {
      const y = random.pick(["NULL", "1", "'t'"]);
      return random.pick([
        `${verb} INTO nulls (x, y, v) VALUES (${n}, ${y}, ${v})`,
        `UPDATE nulls SET v = ${v} WHERE x = ${n} AND y IS ${y}`,
        // Of two rows that take one key the order of their rowids would decide, which is each node's own.
        `${update} nulls SET y = ${y} WHERE x = ${n} AND y IS NOT ${y} AND ` +
        `(SELECT count(*) FROM nulls WHERE x = ${n} AND y IS NOT ${y}) = 1`,
        `DELETE FROM nulls WHERE x = ${n} AND y IS ${y}`,
      ]);
    }
  }
}

/** A statement on a table that was drawn. */
function drawOnColumns(random: Random, table: SimulatedTable, workload: Workload): string {
  const { name } = table;
  const columns = table.key[0] === "rowid" ? [ROWID, ...table.columns ?? []] : table.columns ?? [];
  const value = (column: DrawnColumn) => drawValue(random, column, workload);
  // An FTS index learns nothing of the rows that REPLACE removes: its own documentation says so.
  const isIndexed = table.extras !== undefined;
  const verb = random.pick(
    isIndexed ? ["INSERT", "INSERT OR IGNORE"] : ["INSERT", "INSERT OR IGNORE", "REPLACE"],
  );
  const update = random.pick(isIndexed ? ["UPDATE", "UPDATE OR IGNORE"] : ["UPDATE", "UPDATE OR REPLACE"]);
  const key = columns.filter((column) => column.isKey);
  const where = key.map((column) => `${column.name} IS ${value(column)}`).join(" AND ");
  const names = columns.map((column) => column.name).join(", ");
  const settable = columns.filter((column) => !column.isKey);
  const set = random.pick(settable);
  switch (random.below(12)) {
    case 0:
    case 1:
      return `DELETE FROM ${name} WHERE ${where}`;
    case 2:
      return `${update} ${name} SET ${
        key.map((column) => `${column.name} = ${value(column)}`).join(", ")
      } WHERE ${where}`;
    case 3:
    case 4:
    case 5:
      return `${update} ${name} SET ${set.name} = ${value(set)} WHERE ${where}`;
    case 6: {
      const unique = settable.find((column) => column.isUnique && column.isNullable);
      if (unique && key.length === 1 && typeof key[0]?.name === "string") {
        return swap(name, key[0].name, unique.name, [value(key[0]), value(key[0])]);
      }
      return `DELETE FROM ${name} WHERE ${where}`;
    }
    case 7:
      if (random.chance(0.1) && key.length === 1 && key[0]?.type === "INTEGER") {
        return `WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < ${
          200 + random.below(300)
        }) ` +
          `INSERT OR IGNORE INTO ${name} (${key[0].name}) SELECT ${workload.owner} + 10 * i FROM n`;
      }
      return `UPDATE ${name} SET ${set.name} = ${set.isUnique ? set.name : value(set)}`;
    default:
      return `${verb} INTO ${name} (${names}) VALUES (${columns.map(value).join(", ")})`;
  }
}

const ROWID: DrawnColumn = {
  name: "rowid",
  type: "INTEGER",
  isKey: true,
  isUnique: false,
  isNullable: false,
};

function drawValue(random: Random, column: DrawnColumn, { owner, keys, values }: Workload): string {
  const isText = column.type === "TEXT";
  if (column.isNullable && random.chance(0.25)) return "NULL";
  if (column.isKey && column.name === "l") return random.pick(["1", "1.0", "'1'", "x'01'"]);
  if (column.isKey) {
    return isText ? `'${random.pick(["a", "A", "b", "c"])}${owner}'` : `${owner + 10 * random.below(keys)}`;
  }
  if (column.isUnique && column.type !== "BLOB") {
    return isText ? `'${random.pick(["x", "X", "y"])}${owner}'` : `${owner + 10 * random.below(3)}`;
  }
  if (column.isUnique) return `x'0${owner}0${random.below(3)}'`;
  // Only where all rows are everybody's may a default come in the place of NULL.
  if (!column.isNullable && owner === 0 && random.chance(0.2)) return "NULL";
  if (column.type === "BLOB") return `x'${random.pick(["00", "ff00", "31"])}'`;
  const v = random.chance(0.7) ? `${random.pick(values)}` : `${random.below(60)}`;
  if (isText) return `'t${v}'`;
  if (column.type === "REAL") return `${v}.5`;
  return column.type === "INTEGER" ? v : random.pick([v, `${v}.0`, `'${v}'`, `${v}.25`, "-0.0", "1e300"]);
}

/** Two rows exchange their UNIQUE values, by way of NULL. */
function swap(
  table: string,
  key: string,
  unique: string,
  [a, b]: readonly [number | string, number | string],
): string {
  const isOne = `main.${table}.${key} IN (${a}, ${b})`;
  return "DROP TABLE IF EXISTS temp.swap; " +
    `CREATE TEMP TABLE swap AS SELECT ${key} AS k, ${unique} AS u FROM main.${table} WHERE ${isOne}; ` +
    `UPDATE main.${table} SET ${unique} = NULL WHERE ${isOne}; ` +
    `UPDATE main.${table} SET ${unique} = (SELECT u FROM temp.swap WHERE k <> main.${table}.${key}) WHERE ${isOne}; ` +
    "DROP TABLE temp.swap";
}
