/**
 * What the applications of the benchmark write: tables by the kind of their rows, and the values of the i-th row. The
 * same number always gives the same row, so that two runs write the same.
 */

export type Value = number | string | Uint8Array;

/** A table of one kind of rows; `id` is its key. */
export interface Shape {
  readonly table: string;
  readonly schema: string;
  readonly insert: string;
  /** Values of the insert; `id` is the first. */
  row(id: number): Value[];
  readonly update: string;
  /** Values of the update: another image for every `version`. */
  change(id: number, version: number): Value[];
}

export const SHAPES = ["narrow", "unique", "wide", "text", "blob"] as const;
/** A kind of rows: of SHAPES, or rows of one text of so many bytes. */
export type ShapeName = typeof SHAPES[number] | `sized-${number}`;

const WORDS =
  ("node stream commit table image batch shard cursor entry echo row key index trigger publish apply " +
    "order message broker replica change capture pending settle origin").split(" ");
const WIDE_COLUMNS = 49;
const TEXT_BYTES = 1024;
const BLOB_BYTES = 100 * 1024;
/** Texts and blobs are cut out of a larger one, at another place for each row. */
const POOL_BYTES = 4 * 1024 * 1024;

/** The shape of this name. Throws RangeError where there is none. */
export function shapeOf(name: ShapeName): Shape {
  switch (name) {
    case "narrow":
      return readings("reading", "");
    case "unique":
      return readings("coded", ", UNIQUE (at)");
    case "wide":
      return wide();
    case "text":
      return texts("note", TEXT_BYTES);
    case "blob":
      return blobs();
    default: {
      const bytes = Number(/^sized-(\d+)$/.exec(name)?.[1]);
      if (!(bytes > 0)) throw new RangeError(`there is no shape "${name}"`);
      return texts("sized", bytes);
    }
  }
}

/** A narrow row: about 30 bytes. */
function readings(table: string, constraint: string): Shape {
  return {
    table,
    schema: `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, at INTEGER NOT NULL, ` +
      `value REAL${constraint})`,
    insert: `INSERT INTO ${table} VALUES (?, ?, ?, ?)`,
    row: (id) => [id, `sensor ${Math.abs(id) % 100}`, 1_700_000_000 + id, id / 8],
    update: `UPDATE ${table} SET sensor = ?, value = ? WHERE id = ?`,
    change: (id, version) => [`sensor ${version % 100}`, id / 8 + version, id],
  };
}

function wide(): Shape {
  const columns = Array.from({ length: WIDE_COLUMNS }, (_, i) => `c${i}`);
  const values = (id: number) =>
    columns.map((_, i) =>
      i % 3 === 0 ? id + i : i % 3 === 1 ? WORDS[(id + i) % WORDS.length] ?? "" : id / 7 + i
    );
  return {
    table: "wide",
    schema: `CREATE TABLE wide (id INTEGER PRIMARY KEY, ${columns.join(", ")})`,
    insert: `INSERT INTO wide VALUES (?${", ?".repeat(WIDE_COLUMNS)})`,
    row: (id) => [id, ...values(id)],
    update: `UPDATE wide SET ${columns.map((column) => `${column} = ?`).join(", ")} WHERE id = ?`,
    change: (id, version) => [...values(id + version), id],
  };
}

function texts(table: string, bytes: number): Shape {
  const pool = textPool(bytes);
  return bodies(table, "TEXT", (n) => {
    const at = place(n, pool.length - bytes);
    return pool.slice(at, at + bytes);
  });
}

/** Bytes that do not compress. */
function blobs(): Shape {
  const pool = new Uint8Array(POOL_BYTES);
  let state = 12345;
  for (let i = 0; i < pool.length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    pool[i] = state >>> 16;
  }
  return bodies("file", "BLOB", (n) => {
    const at = place(n, pool.length - BLOB_BYTES);
    return pool.slice(at, at + BLOB_BYTES);
  });
}

function bodies(table: string, type: string, body: (n: number) => Value): Shape {
  return {
    table,
    schema: `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, body ${type} NOT NULL)`,
    insert: `INSERT INTO ${table} VALUES (?, ?)`,
    row: (id) => [id, body(id)],
    update: `UPDATE ${table} SET body = ? WHERE id = ?`,
    change: (id, version) => [body(id + version), id],
  };
}

/** English-like text, a few megabytes longer than `bytes`. */
function textPool(bytes: number): string {
  const parts: string[] = [];
  let length = 0;
  let state = 99;
  while (length < bytes + POOL_BYTES / 4) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    const word = (WORDS[(state >>> 16) % WORDS.length] ?? "") + " ";
    parts.push(word);
    length += word.length;
  }
  return parts.join("");
}

function place(n: number, room: number): number {
  return Math.abs(Math.imul(n, 7919)) % room;
}

/** The i-th id of a walk that visits the ids 1 to `rows` in no order. */
export function scattered(i: number, rows: number): number {
  return 1 + (i * 48_271) % rows;
}
