/**
 * The tables that Marmot keeps in the application's database. All names are compatibility constants. Everything
 * that follows from a message is written in the transaction that moves the cursor past it, so these
 * tables and the application's rows always tell the same story.
 */
import type { Connection } from "../connection.ts";

export const CHANGE_LOG = "__marmot__change_log";
export const SETTLED = "__marmot__settled";

/** Version of the layout below, kept in meta. */
export const STATE_VERSION = 1n;

/** What an entry of the change log is; values are compatibility constants. */
export const entryKinds = {
  /** The application touched this row. */
  change: 0,
  /** REPLACE may have removed this row: counts only while the row is absent. */
  victim: 1,
  /** No application write: the row was there when its table was armed. */
  backfill: 2,
  /** Done; kept only because it has the highest id, and ids are never used again. */
  settled: 3,
} as const;

const DEFINITIONS = [
  // Facts about this database: node_id, state_version, last_run, ...
  `CREATE TABLE IF NOT EXISTS __marmot__meta (
    name TEXT NOT NULL PRIMARY KEY,
    value NOT NULL
  ) WITHOUT ROWID`,

  // One entry per touched row; k0, k1, ... (added as wide as the widest key) hold the key, exact.
  `CREATE TABLE IF NOT EXISTS __marmot__change_log (
    id INTEGER PRIMARY KEY,           -- ascending, never used again
    table_id INTEGER,                 -- __marmot__table.id
    kind INTEGER DEFAULT 0,           -- entryKinds
    k0
  )`,

  // Own messages that were read back, for as long as what they settled is kept.
  `CREATE TABLE IF NOT EXISTS __marmot__echo (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    stored_at TEXT NOT NULL,          -- when the server stored the message, '' if unknown
    at_ms INTEGER NOT NULL,           -- when it was read, milliseconds since 1970
    first_id INTEGER NOT NULL,        -- __marmot__settled.id of what it settled; first > last: nothing
    last_id INTEGER NOT NULL
  )`,

  // Keys of settled entries, in the order in which they were settled; k0, k1, ... as in the change log.
  `CREATE TABLE IF NOT EXISTS __marmot__settled (
    id INTEGER PRIMARY KEY,
    table_id INTEGER,                 -- __marmot__table.id
    k0
  )`,

  // Every table that was ever armed: what it was called, its columns, what it lost and renamed.
  `CREATE TABLE IF NOT EXISTS __marmot__table (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,               -- its name when last armed
    is_dropped INTEGER NOT NULL,      -- 1 when it no longer exists
    memory TEXT NOT NULL              -- JSON, see known_tables.ts
  )`,

  // How far each stream was applied.
  `CREATE TABLE IF NOT EXISTS __marmot__stream (
    name TEXT NOT NULL PRIMARY KEY,   -- name of the stream
    created_at TEXT NOT NULL,         -- when the server says it was created
    cursor INTEGER NOT NULL,          -- last sequence applied, or put aside on record
    stored_at TEXT NOT NULL           -- when the server stored the message at the cursor, '' if unknown
  ) WITHOUT ROWID`,

  // The highest message read of each origin: a message that is not above it is ignored.
  `CREATE TABLE IF NOT EXISTS __marmot__origin (
    stream TEXT NOT NULL,
    origin TEXT NOT NULL,             -- node id, decimal
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (stream, origin)
  ) WITHOUT ROWID`,

  // Parts of a row that is larger than a message; complete sets are applied and removed.
  `CREATE TABLE IF NOT EXISTS __marmot__part (
    stream TEXT NOT NULL,
    origin TEXT NOT NULL,             -- node id, decimal
    part INTEGER NOT NULL,            -- from 0
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,          -- number of the message that held this part
    body BLOB NOT NULL,
    PRIMARY KEY (stream, origin, part)
  )`,

  // Messages of tables whose schema does not fit yet, in the order in which they are to be applied.
  `CREATE TABLE IF NOT EXISTS __marmot__parked (
    id INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,         -- as the message names it
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    origin TEXT NOT NULL,             -- node id, decimal
    run INTEGER,                      -- NULL: the original's format
    top INTEGER NOT NULL,
    message BLOB NOT NULL,            -- the batch, as in a message
    reason TEXT NOT NULL
  )`,

  // Tables that have lost events, because too many waited: they need a new copy.
  `CREATE TABLE IF NOT EXISTS __marmot__resync (
    table_name TEXT NOT NULL COLLATE NOCASE PRIMARY KEY,
    stream TEXT NOT NULL,             -- where the first of them stood
    sequence INTEGER NOT NULL,
    lost INTEGER NOT NULL,            -- how many messages
    at_ms INTEGER NOT NULL            -- milliseconds since 1970
  ) WITHOUT ROWID`,

  // Messages that can never be applied, raw.
  `CREATE TABLE IF NOT EXISTS __marmot__quarantine (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    subject TEXT NOT NULL,
    format TEXT,                      -- value of the format header
    payload BLOB NOT NULL,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL,           -- milliseconds since 1970
    retry INTEGER                     -- 1: the operator wants it tried again; 0: not; NULL: it is not known what followed it
  )`,

  // Tables that have taken events since a message was put into quarantine: what follows it (quarantine.ts).
  `CREATE TABLE IF NOT EXISTS __marmot__followed (
    table_id INTEGER PRIMARY KEY,     -- __marmot__table.id
    quarantine_id INTEGER NOT NULL    -- the newest message in quarantine then
  )`,

  // Remote rows that wait because they clash with a pending local row.
  `CREATE TABLE IF NOT EXISTS __marmot__hidden (
    table_id INTEGER NOT NULL,        -- __marmot__table.id
    key_identity NOT NULL,            -- key.ts
    body BLOB NOT NULL,               -- the upsert, as in a message
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    origin TEXT,                      -- whose event it is: node id, decimal
    PRIMARY KEY (table_id, key_identity)
  )`,

  // Tables that were changed without capture: how far their rows were published again, see due_images.ts.
  `CREATE TABLE IF NOT EXISTS __marmot__image (
    table_id INTEGER PRIMARY KEY,     -- __marmot__table.id
    id INTEGER NOT NULL,              -- of the image, ascending
    reached BLOB,                     -- the key up to which it was read back, as in a message; NULL: none
    is_done INTEGER NOT NULL,         -- 1 when it was read back to its end
    stream TEXT,                      -- where the last piece was read back
    sequence INTEGER
  )`,

  // Images of other nodes that are being read.
  `CREATE TABLE IF NOT EXISTS __marmot__image_read (
    table_id INTEGER NOT NULL,        -- __marmot__table.id
    origin TEXT NOT NULL,             -- node id, decimal
    image INTEGER NOT NULL,           -- its id there
    rows INTEGER NOT NULL,            -- that the table had here when the image began
    missing INTEGER NOT NULL,         -- how many fewer it had there
    deleted INTEGER NOT NULL,         -- rows that the image has deleted here
    PRIMARY KEY (table_id, origin)
  ) WITHOUT ROWID`,

  // Origins whose UNIQUE indexes on a table are not this node's.
  `CREATE TABLE IF NOT EXISTS __marmot__unique (
    table_id INTEGER NOT NULL,        -- __marmot__table.id
    origin TEXT NOT NULL,             -- node id, decimal
    signature TEXT NOT NULL,          -- as in its messages
    PRIMARY KEY (table_id, origin)
  ) WITHOUT ROWID`,

  // What lost: rows and events that another change replaced without having seen them.
  `CREATE TABLE IF NOT EXISTS __marmot__conflict (
    id INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    kind TEXT NOT NULL,               -- conflict_journal.ts
    losing BLOB NOT NULL,             -- the losing image, as in a message
    losing_origin TEXT,               -- node id, decimal; NULL if unknown
    winner_stream TEXT,               -- NULL while the winner is not published
    winner_sequence INTEGER,
    winner_origin TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    open_table_id INTEGER,            -- the row whose pending change has won, until its echo tells where it stands:
    open_key                          -- __marmot__table.id and the key, see key.ts
  )`,
];

/** Columns that a database of an earlier build lacks. */
const ADDED_COLUMNS: readonly (readonly [table: string, column: string, type: string])[] = [
  ["__marmot__hidden", "origin", "TEXT"],
  ["__marmot__conflict", "open_table_id", "INTEGER"],
  ["__marmot__conflict", "open_key", ""],
  ["__marmot__quarantine", "retry", "INTEGER"],
];

const INDEXES = [
  "CREATE INDEX IF NOT EXISTS __marmot__conflict_open ON __marmot__conflict (open_table_id, open_key) " +
  "WHERE open_table_id IS NOT NULL",
];

/** Makes Marmot's tables where they are missing. Call in a write transaction. */
export function createStateTables(connection: Connection): void {
  for (const sql of DEFINITIONS) connection.exec(sql);
  for (const [table, column, type] of ADDED_COLUMNS) {
    const has = connection.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?").get([table, column]);
    if (!has) connection.exec(`ALTER TABLE ${table} ADD COLUMN ${column} ${type}`);
  }
  for (const sql of INDEXES) connection.exec(sql);
}

export function hasStateTables(connection: Connection): boolean {
  return connection.statement("SELECT 1 FROM main.sqlite_schema WHERE name = '__marmot__meta'").get() !==
    undefined;
}

/** Widens the change log, and what is kept of it, so that they hold keys of `width` columns. Call in a write transaction. */
export function widenChangeLog(connection: Connection, width: number): void {
  const has = keyWidth(connection);
  for (let i = has; i < width; i++) {
    for (const table of [CHANGE_LOG, SETTLED]) connection.exec(`ALTER TABLE ${table} ADD COLUMN k${i}`);
  }
  if (width > has) connection.forgetStatements();
}

/** How many key columns the change log has. */
export function keyWidth(connection: Connection): number {
  return connection.integer(
    `SELECT count(*) FROM pragma_table_info('${CHANGE_LOG}') WHERE name GLOB 'k[0-9]*'`,
  );
}
