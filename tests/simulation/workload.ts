/** What applications do in a history: statements over tables with every kind of key, on rows of their own or of all. */
import type { Random } from "./random.ts";

/** Who writes what: any node any row; only node 1; each node rows of its own. */
export type Mode = "any" | "sole" | "own";

export const TABLES: Readonly<Record<string, string>> = {
  plain: "CREATE TABLE plain (id INTEGER PRIMARY KEY, v)",
  uniq: "CREATE TABLE uniq (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v)",
  folded: "CREATE TABLE folded (k TEXT COLLATE NOCASE PRIMARY KEY, u TEXT COLLATE NOCASE, v); " +
    "CREATE UNIQUE INDEX folded_u ON folded (u) WHERE v > 30",
  pairs: "CREATE TABLE pairs (a, b, v, PRIMARY KEY (a, b)) WITHOUT ROWID",
  keyless: "CREATE TABLE keyless (v)",
  nulls: "CREATE TABLE nulls (x, y, v, PRIMARY KEY (x, y))",
};

/** One transaction of an application. */
export function drawTransaction(
  random: Random,
  { tables, mode, node }: { tables: readonly string[]; mode: Mode; node: number },
): string[] {
  const count = random.chance(0.3) ? 2 + random.below(4) : 1;
  return Array.from(
    { length: count },
    () => drawStatement(random, { table: random.pick(tables), owner: mode === "own" ? node : 0 }),
  );
}

function drawStatement(random: Random, { table, owner }: { table: string; owner: number }): string {
  const n = owner * 100 + random.below(4);
  // Equal images come back: that is what an image alone cannot tell.
  const v = random.chance(0.6) ? random.pick([0, 40]) : random.below(60);
  const u = random.chance(0.3) ? "NULL" : `'${random.pick(["x", "y", "z"])}${owner}'`;
  const verb = random.pick(["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE", "REPLACE"]);
  const update = random.pick(["UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE"]);
  const other = owner * 100 + random.below(4);
  switch (table) {
    case "plain":
      return random.pick([
        `${verb} INTO plain VALUES (${n}, ${v})`,
        `INSERT INTO plain VALUES (${n}, ${v}) ON CONFLICT (id) DO UPDATE SET v = excluded.v`,
        `UPDATE plain SET v = ${v} WHERE id = ${n}`,
        `${update} plain SET id = ${other} WHERE id = ${n}`,
        `DELETE FROM plain WHERE id = ${n}`,
      ]);
    case "uniq":
      return random.pick([
        `${verb} INTO uniq VALUES (${n}, ${u}, ${v})`,
        `${verb} INTO uniq VALUES (${n}, ${u}, ${v})`,
        `${update} uniq SET u = ${u}, v = ${v} WHERE id = ${n}`,
        `${update} uniq SET id = ${other} WHERE id = ${n}`,
        `DELETE FROM uniq WHERE id = ${n}`,
        swap(n, other),
      ]);
    case "folded": {
      const k = `'${random.pick(["a", "A", "b", "B", "c"])}${owner}'`;
      return random.pick([
        `${verb} INTO folded VALUES (${k}, ${u}, ${v})`,
        `${update} folded SET u = upper(${u}), v = ${v} WHERE k = ${k}`,
        `${update} folded SET k = upper(k) WHERE k = ${k}`,
        `DELETE FROM folded WHERE k = ${k}`,
      ]);
    }
    case "pairs": {
      const b = random.pick(["1", "1.0", "'1'", "x'01'"]);
      return random.pick([
        `${verb} INTO pairs VALUES (${n}, ${b}, ${v})`,
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
    default: {
      const y = random.pick(["NULL", "1", "'t'"]);
      return random.pick([
        `${verb} INTO nulls VALUES (${n}, ${y}, ${v})`,
        `UPDATE nulls SET v = ${v} WHERE x = ${n} AND y IS ${y}`,
        `${update} nulls SET y = ${y} WHERE x = ${n} AND y IS NOT ${y}`,
        `DELETE FROM nulls WHERE x = ${n} AND y IS ${y}`,
      ]);
    }
  }
}

/** Two rows exchange their UNIQUE values, by way of NULL. */
function swap(a: number, b: number): string {
  return `CREATE TEMP TABLE swap AS SELECT id, u FROM main.uniq WHERE id IN (${a}, ${b}); ` +
    `UPDATE main.uniq SET u = NULL WHERE id IN (${a}, ${b}); ` +
    `UPDATE main.uniq SET u = (SELECT u FROM temp.swap WHERE id = (SELECT ${a} + ${b} - main.uniq.id)) WHERE id IN (${a}, ${b}); ` +
    "DROP TABLE temp.swap";
}
