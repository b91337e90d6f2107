/** The tables of a history: some written by hand for their kind of key, some drawn at random. */
import type { Random } from "./random.ts";

/** A table that nodes replicate. Plain data, so that a history can be kept as a file. */
export interface SimulatedTable {
  readonly name: string;
  /** Makes the table and its indexes. */
  readonly sql: string;
  /** What is not replicated but hangs on it: an FTS index with its triggers. */
  readonly extras?: string;
  /** Columns of the key, "rowid" for a table without one. */
  readonly key: readonly string[];
  /** Whether the key compares text under NOCASE. */
  readonly isFolded: boolean;
  /** Whether a schema change makes it, not the beginning. */
  readonly isLater?: boolean;
  /** Columns of a table that was drawn; the others have statements of their own. */
  readonly columns?: readonly DrawnColumn[];
}

export interface DrawnColumn {
  readonly name: string;
  readonly type: string;
  readonly isKey: boolean;
  /** Values are told apart by their owner, so that owners never clash. */
  readonly isUnique: boolean;
  readonly isNullable: boolean;
}

/** Tables by hand, one per kind of key. */
export const HAND_TABLES: readonly SimulatedTable[] = [
  table("plain", "CREATE TABLE plain (id INTEGER PRIMARY KEY, v)", ["id"]),
  table("uniq", "CREATE TABLE uniq (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v)", ["id"]),
  {
    ...table(
      "folded",
      "CREATE TABLE folded (k TEXT COLLATE NOCASE PRIMARY KEY, u TEXT COLLATE NOCASE, v); " +
        "CREATE UNIQUE INDEX folded_u ON folded (u) WHERE v > 30",
      ["k"],
    ),
    isFolded: true,
  },
  table("pairs", "CREATE TABLE pairs (a, b, v, PRIMARY KEY (a, b)) WITHOUT ROWID", ["a", "b"]),
  table("keyless", "CREATE TABLE keyless (v)", ["rowid"]),
  table("nulls", "CREATE TABLE nulls (x, y, v, PRIMARY KEY (x, y))", ["x", "y"]),
  table("loose", "CREATE TABLE loose (x, y, u UNIQUE, v, PRIMARY KEY (x, y))", ["x", "y"]),
];

function table(name: string, sql: string, key: readonly string[]): SimulatedTable {
  return { name, sql, key, isFolded: false };
}

const FTS = (name: string, key: string, column: string) =>
  `CREATE VIRTUAL TABLE ${name}_fts USING fts5(${column}, content='${name}', content_rowid='${key}');
   CREATE TRIGGER ${name}_ai AFTER INSERT ON ${name} BEGIN
     INSERT INTO ${name}_fts (rowid, ${column}) VALUES (NEW.${key}, NEW.${column}); END;
   CREATE TRIGGER ${name}_ad AFTER DELETE ON ${name} BEGIN
     INSERT INTO ${name}_fts (${name}_fts, rowid, ${column}) VALUES ('delete', OLD.${key}, OLD.${column}); END;
   CREATE TRIGGER ${name}_au AFTER UPDATE ON ${name} BEGIN
     INSERT INTO ${name}_fts (${name}_fts, rowid, ${column}) VALUES ('delete', OLD.${key}, OLD.${column});
     INSERT INTO ${name}_fts (rowid, ${column}) VALUES (NEW.${key}, NEW.${column}); END`;

/** A table of a random shape. */
export function drawTable(random: Random, name: string): SimulatedTable {
  const shape = random.pick(["integer", "text", "folded", "pair", "nullable pair", "rowid", "fts"]);
  const isStrict = shape !== "rowid" && random.chance(0.2);
  const types = isStrict
    ? ["INTEGER", "TEXT", "REAL", "BLOB", "ANY"]
    : ["", "INTEGER", "TEXT", "REAL", "NUMERIC", "BLOB"];
  const columns = keyColumns(shape, isStrict);
  const definitions = columns.map(({ name, type }) =>
    `${name} ${type}${
      shape === "integer" || shape === "fts" ? " PRIMARY KEY" : shape === "folded" ? " COLLATE NOCASE" : ""
    }`
  );
  for (let i = 0; i < 1 + random.below(4); i++) {
    const isUnique = random.chance(0.35);
    const isNullable = random.chance(0.8);
    const column = { name: `c${i}`, type: random.pick(types), isKey: false, isUnique, isNullable };
    columns.push(column);
    const nullable = isNullable
      ? ""
      : ` NOT NULL DEFAULT ${column.type === "BLOB" ? "x'07'" : column.type === "TEXT" ? "'7'" : "7"}`;
    const check = random.chance(0.15) ? ` CHECK (c${i} IS NOT 59)` : "";
    definitions.push(`c${i} ${column.type}${nullable}${check}`);
  }
  const key = columns.filter((column) => column.isKey).map((column) => column.name);
  if (shape === "text" || shape === "folded" || shape.endsWith("pair")) {
    definitions.push(`PRIMARY KEY (${key.join(", ")})`);
  }
  const hasRowid = shape === "nullable pair" || shape === "rowid" || shape === "fts" || random.chance(0.7);
  const options = [
    ...(hasRowid || shape === "integer" ? [] : ["WITHOUT ROWID"]),
    ...(isStrict ? ["STRICT"] : []),
  ];
  const indexes = columns.filter((column) => column.isUnique).map((column, i) => {
    const index = `CREATE UNIQUE INDEX ${name}_u${i} ON ${name}`;
    const others = columns.filter((other) => !other.isKey && other !== column);
    switch (random.below(5)) {
      case 0:
        return `${index} (${column.name}) WHERE ${
          random.pick(others.length > 0 ? others : [column]).name
        } IS NOT NULL`;
      case 1:
        return `${index} (lower(${column.name}))`;
      case 2:
        return others[0]
          ? `${index} (${column.name}, ${others[0].name})`
          : `${index} (${column.name} COLLATE NOCASE)`;
      default:
        return `${index} (${column.name})`;
    }
  });
  const sql = [`CREATE TABLE ${name} (${definitions.join(", ")}) ${options.join(", ")}`, ...indexes].join(
    "; ",
  );
  return {
    name,
    sql,
    ...(shape === "fts" ? { extras: FTS(name, "k", "c0") } : {}),
    key: shape === "rowid" ? ["rowid"] : key,
    isFolded: shape === "folded",
    columns,
  };
}

function keyColumns(shape: string, isStrict: boolean): DrawnColumn[] {
  const key = { isKey: true, isUnique: false, isNullable: false };
  const any = isStrict ? "ANY" : "";
  switch (shape) {
    case "rowid":
      return [];
    case "integer":
    case "fts":
      return [{ ...key, name: "k", type: "INTEGER" }];
    case "pair":
      return [{ ...key, name: "k", type: any }, { ...key, name: "l", type: any }];
    case "nullable pair":
      return [{ ...key, name: "k", type: any }, { ...key, name: "l", type: any, isNullable: true }];
    default:
      return [{ ...key, name: "k", type: "TEXT" }];
  }
}

/** A table that a schema change makes. */
export const LATER: SimulatedTable = {
  ...table("later", "CREATE TABLE later (k INTEGER PRIMARY KEY, c0)", ["k"]),
  isLater: true,
  columns: [
    { name: "k", type: "INTEGER", isKey: true, isUnique: false, isNullable: false },
    { name: "c0", type: "", isKey: false, isUnique: false, isNullable: true },
  ],
};
