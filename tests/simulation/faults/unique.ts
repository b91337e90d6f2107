/** Deliberate faults in what UNIQUE indexes ask for. */
import type { Fault } from "../deliberate_faults.ts";

const BATCH = "src/db/apply/batch_applier.ts";
const TRIGGERS = "src/db/capture/capture_triggers.ts";
const HIDE =
  "this.#hidden.hide(table.id, { identity: keyedEvent.identity, body, origin }, application.message);";

export const UNIQUE_FAULTS: readonly Fault[] = [
  {
    name: "rows that REPLACE removes by a UNIQUE index are not logged",
    changes: [{
      file: TRIGGERS,
      find: "if (table.uniqueIndexes.length > 0) {",
      replace: "if (table.uniqueIndexes.length < 0) {",
    }],
    within: { mode: "drawn" },
  },
  {
    name: "rows that REPLACE removes by the rowid are not logged",
    changes: [{
      file: TRIGGERS,
      find: 'if (table.keyKind === "declared" && table.rowidName !== null) {',
      replace: 'if (table.rowidName === "") {',
    }],
    within: { history: "a_row_is_replaced_by_its_rowid" },
  },
  {
    name: "victims are pending though their row is there",
    changes: [{
      file: "src/db/capture/pending_changes.ts",
      find: "const isFalseVictim = entry.hasVictim && !hasNull(key) && table.rows.has(key);",
      replace: "const isFalseVictim = entry.id < 0 && hasNull(key);",
    }],
    within: { mode: "drawn" },
  },
  {
    name: "an event displaces nothing",
    changes: [{
      file: BATCH,
      find: "else if (table.rows.has(key)) this.#displace(application, { key, identity: clashing }, result);",
      replace: "",
    }],
    within: { mode: "any" },
  },
  {
    name: "an event that is not written displaces nothing",
    changes: [{
      file: BATCH,
      find: "    let isBlocked = false;\n    for (const row of rowsOf(keyedEvent.event)) {",
      replace:
        "    let isBlocked = false;\n    for (const row of this.#isKept(application, keyedEvent.identity) ? [] : rowsOf(keyedEvent.event)) {",
    }],
    within: { mode: "any" },
  },
  {
    name: "an echo displaces nothing",
    changes: [{
      file: BATCH,
      find: "    let isBlocked = false;\n    for (const row of rowsOf(keyedEvent.event)) {",
      replace:
        "    let isBlocked = false;\n    for (const row of application.isEcho ? [] : rowsOf(keyedEvent.event)) {",
    }],
    within: { mode: "any" },
  },
  {
    name: "a message is not a set: a swap displaces",
    changes: [{
      file: BATCH,
      find: "inBatch: new Set(events.map((event) => event.identity)),",
      replace: "inBatch: new Set(),",
    }],
    within: { history: "two_rows_swap_their_values" },
  },
  {
    name: "a row that clashes with a pending one is dropped",
    changes: [{ file: BATCH, find: HIDE, replace: "void [body, origin];" }],
    within: { history: "a_row_comes_out_behind_a_pending_one" },
  },
  {
    name: "an event leaves the hidden row of its key",
    changes: [{
      file: BATCH,
      find: "for (const event of events) this.#hidden.drop(table.id, event.identity);",
      replace: "",
    }],
    within: { history: "a_hidden_row_is_deleted" },
  },
  {
    name: "an event leaves the hidden rows that it displaces",
    changes: [{
      file: BATCH,
      find: "if (hiddenRows.length === 0) return;",
      replace: "if (hiddenRows.length >= 0) return;",
    }],
    within: { mode: "any" },
  },
  {
    name: "hidden rows come out before the clash is decided",
    changes: [{
      file: BATCH,
      find: "if (rows.some((row) => table.clashes.find(columns, row).length > 0)) continue;",
      replace:
        "for (const row of rows) for (const key of table.clashes.find(columns, row)) table.rows.delete(key);",
    }],
    within: { mode: "any" },
  },
  {
    name: "hidden rows do not come out",
    changes: [{ file: BATCH, find: "    this.unhide(table);\n    if (isOwn", replace: "    if (isOwn" }],
    within: { history: "a_row_comes_out_behind_a_pending_one" },
  },
  {
    name: "a hidden row comes out over a pending one of its key",
    changes: [{
      file: BATCH,
      find: "if (event !== undefined && !this.#pending.isPending(table.id, hidden.identity)) {",
      replace: "if (event !== undefined) {",
    }],
    within: { history: "a_hidden_row_is_written_here" },
  },
  {
    name: "nodes with other UNIQUE indexes are not told of displaced rows",
    changes: [{
      file: BATCH,
      find: "isDisputed: this.#agreement.isDisputed(table),",
      replace: "isDisputed: false,",
    }],
    within: { history: "one_node_alone_has_a_unique_index" },
  },
];
