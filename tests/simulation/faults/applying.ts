/** Deliberate faults in settling, and in applying to tables without UNIQUE indexes. */
import type { Fault } from "../deliberate_faults.ts";

const BATCH = "src/db/apply/batch_applier.ts";
const PENDING = "src/db/capture/pending_changes.ts";
const POSITIONS = "src/db/state/stream_positions.ts";
const REPLICA = "src/db/replica.ts";
const KEPT = "#isKept({ table, settled }: Application, identity: KeyIdentity): boolean {";
const ECHO =
  "if (isEcho) {\n        if (this.#pending.settle(table.id, identity, message.top)) settled.add(identity);";
const PARENT = "if (isOfParent) this.#pending.settle(table.id, identity, Math.min(message.top, parent.top));";

export const APPLYING_FAULTS: readonly Fault[] = [
  {
    name: "a node writes nothing that it has published itself",
    changes: [{
      file: BATCH,
      find: "  #applyPlain(application: Application, keyedEvent: KeyedEvent, result: AppliedEvents): void {",
      replace:
        "  #applyPlain(application: Application, keyedEvent: KeyedEvent, result: AppliedEvents): void {\n" +
        "    if (application.message.origin === this.#applicant.nodeId) return;",
    }],
    within: { mode: "files" },
  },
  {
    name: "an echo is always applied",
    changes: [{
      file: BATCH,
      find: KEPT,
      replace:
        "#isKept({ table, settled, isEcho }: Application, identity: KeyIdentity): boolean {\n    if (isEcho) return false;",
    }],
    within: { mode: "any" },
  },
  {
    name: "a pending row is written",
    changes: [{
      file: BATCH,
      find: "return settled.has(identity) || this.#pending.isPending(table.id, identity);",
      replace: "return settled.has(identity);",
    }],
    within: { mode: "any" },
  },
  {
    name: "an echo settles by the image alone",
    changes: [{
      file: BATCH,
      find: ECHO,
      replace: `if (isEcho) {
        const isImage = isImageOf(table, mapping, event);
        if (isImage && this.#pending.settle(table.id, identity, Infinity)) settled.add(identity);`,
    }],
    within: { mode: "any" },
  },
  {
    name: "an echo settles all entries of its rows",
    changes: [{
      file: PENDING,
      find: "isOver: (entry) => entry.id <= top,",
      replace: "isOver: () => top >= 0,",
    }],
    within: { mode: "any" },
  },
  {
    name: "own messages of an earlier run settle by the log id alone",
    changes: [{
      file: BATCH,
      find:
        "this.#pending.isCovered(table.id, identity, message.top) &&\n          isImageOf(table, mapping, event);",
      replace: "this.#pending.isCovered(table.id, identity, message.top);",
    }],
    within: { mode: "files" },
  },
  {
    name: "own messages of an earlier run settle by the image alone",
    changes: [
      {
        file: BATCH,
        find:
          "this.#pending.isCovered(table.id, identity, message.top) &&\n          isImageOf(table, mapping, event);",
        replace: "isImageOf(table, mapping, event);",
      },
      {
        file: BATCH,
        find: "if (isAnswer && this.#pending.settle(table.id, identity, message.top)) settled.add(identity);",
        replace: "if (isAnswer && this.#pending.settle(table.id, identity, Infinity)) settled.add(identity);",
      },
    ],
    within: { mode: "any" },
  },
  {
    name: "own messages of an earlier run settle nothing",
    changes: [{
      file: BATCH,
      find: "} else if (isOwn) {",
      replace: "} else if (isOwn && message.top < 0) {",
    }],
    within: { mode: "turns" },
  },
  {
    name: "inherited entries are settled by the image",
    changes: [{
      file: BATCH,
      find: PARENT,
      replace:
        "if (isOfParent && isImageOf(table, mapping, event)) this.#pending.settle(table.id, identity, Infinity);",
    }],
    within: { history: "a_copy_writes_what_its_original_wrote" },
  },
  {
    name: "inherited entries are settled behind the log id that came with the copy",
    changes: [{
      file: BATCH,
      find: PARENT,
      replace: PARENT.replace("Math.min(message.top, parent.top)", "message.top"),
    }],
    within: { history: "a_copy_and_its_original_write" },
  },
  {
    name: "what the application writes before a transaction is not taken in",
    changes: [{
      file: PENDING,
      find: "if (!this.#isWhole) this.load();",
      replace: "if (!this.#isWhole && this.#loadedTo === 0) this.load();",
    }],
    within: { mode: "any" },
  },
  {
    name: "another node's message decides by what is known of the change log",
    changes: [{
      file: "src/db/apply/applier.ts",
      find: "!this.#isOwnEcho(decoded, message) && !this.#parts.pending.tryLoad();",
      replace: "false;",
    }, {
      file: PENDING,
      find:
        "    this.#need();\n    return some(this.#newest(tableId, identity), (entry) => entry.kind !== entryKinds.backfill);",
      replace:
        "    return some(this.#newest(tableId, identity), (entry) => entry.kind !== entryKinds.backfill);",
    }],
    within: { mode: "any" },
  },
  {
    name: "an own message settles of its changes those that are known",
    changes: [{ file: PENDING, find: "    this.#need(top);\n", replace: "" }],
    within: { mode: "any" },
  },
  {
    name: "backfill shields its rows",
    changes: [
      {
        file: PENDING,
        find: "return some(this.#newest(tableId, identity), (entry) => entry.kind !== entryKinds.backfill);",
        replace: "return some(this.#newest(tableId, identity), () => true);",
      },
      {
        file: BATCH,
        find: "if (!isEcho) this.#pending.endBackfill(table.id, identity);",
        replace: "void [isEcho, table, identity];",
      },
    ],
    within: { mode: "rollout" },
  },
  {
    name: "rows are written with REPLACE",
    changes: [{
      file: "src/db/rows/row_access.ts",
      find: 'const sql = `${insert} ON CONFLICT (${target}) DO UPDATE SET ${set.join(", ")}`;',
      replace: 'const sql = [target, set] && insert.replace("INSERT", "INSERT OR REPLACE");',
    }],
    within: { mode: "drawn" },
  },
  {
    name: "rows whose key holds NULL are added to those that are there",
    changes: [{
      file: BATCH,
      find: "      table.rows.delete(key);\n      for (const row of event.rows)",
      replace: "      for (const row of event.rows)",
    }],
    within: { mode: "any" },
  },
  {
    name: "late messages are applied",
    changes: [{ file: POSITIONS, find: "if (this.isRead(stream, origin, mark)) return false;", replace: "" }],
    within: { mode: "any" },
  },
  {
    name: "origin marks are not kept over a restart",
    changes: [{
      file: POSITIONS,
      find: "of this.#changedMarks) {",
      replace: "of this.#changedMarks.slice(0, 0)) {",
    }],
    within: { mode: "any" },
  },
  {
    name: "a transaction that was rolled back stays in the positions",
    changes: [{
      file: REPLICA,
      find: "    this.positions.load();\n    this.#parked.load();\n    this.#images",
      replace: "    this.#parked.load();\n    this.#images",
    }],
    within: { mode: "any" },
  },
  {
    name: "a transaction that was rolled back stays in what is pending",
    changes: [{
      file: REPLICA,
      find: "    this.#applier.forgetTransaction();\n    this.#pending.reset();",
      replace: "    this.#applier.forgetTransaction();",
    }],
    within: { mode: "any" },
  },
  {
    name: "what an event has overwritten names another winner",
    changes: [{
      file: BATCH,
      find: "if (settled.has(identity)) this.#journal.close({ tableId: table.id, identity }, message);",
      replace: "this.#journal.close({ tableId: table.id, identity }, message);",
    }],
    within: { mode: "any" },
  },
  {
    name: "displaced rows are not put on record",
    changes: [{
      file: BATCH,
      find: 'this.#record(application, "displaced", { losing, losingOrigin: null });',
      replace: "void losing;",
    }],
    within: { mode: "any" },
  },
  {
    name: "hidden rows that are dropped are not put on record",
    changes: [{
      file: BATCH,
      find:
        'this.#record(application, "hidden-dropped", { losing: hidden.body, losingOrigin: hidden.origin });',
      replace: "",
    }],
    within: { mode: "any" },
  },
  {
    name: "a record holds another row than the one that lost",
    changes: [{
      file: BATCH,
      find: "losing: { ...body, events: [event] },",
      replace:
        'losing: { ...body, events: [{ ...event, ...(event.kind === "upsert" ? { row: event.row.map(() => 5n) } : {}) }] },',
    }],
    within: { mode: "any" },
  },
  {
    name: "a record names the winner as the one who lost",
    changes: [{
      file: "src/db/apply/conflict_journal.ts",
      find: "conflict.losingOrigin?.toString() ?? null,",
      replace: "conflict.winnerOrigin.toString(),",
    }],
    within: { mode: "any" },
  },
  {
    name: "a record is of another time",
    changes: [{
      file: "src/db/apply/conflict_journal.ts",
      find: "BigInt(conflict.atMs),",
      replace: "BigInt(conflict.atMs % 1000),",
    }],
    within: { mode: "any" },
  },
];
