/** Deliberate faults in saving snapshots, in taking them, and in what a node is that began with one. */
import type { Fault } from "../deliberate_faults.ts";

const STRIP = "src/db/snapshot/strip_copy.ts";
const LATE = "src/node/snapshot/late_merge.ts";
const MERGE = "src/db/snapshot/snapshot_merge.ts";
const SAVER = "src/node/snapshot/snapshot_saver.ts";
const WAIT = "await this.#awaitPublished(facts, signal).finally(() => this.#parts.onWaiting?.(false));";
const FORGET = '    if (kind === "snapshot") forgetTriggers(connection);\n';
const KEPT = '  "__marmot__unique",\n]);';

/** SQL for Marmot's tables in the copy, in the transaction that strips it. */
function inCopy(sql: string): Fault["changes"] {
  return [{
    file: STRIP,
    find: FORGET,
    replace: `${FORGET}    if (kind === "snapshot") connection.exec(${JSON.stringify(sql)});\n`,
  }];
}

export const SNAPSHOT_FAULTS: readonly Fault[] = [
  {
    name: "origin marks are not in the snapshot",
    changes: [{ file: STRIP, find: '  "__marmot__origin",\n', replace: "" }],
    within: { mode: "snapshots" },
  },
  {
    name: "a snapshot is uploaded without waiting for what is pending in its copy",
    changes: [{
      file: SAVER,
      find: "left > 0; left = countPending",
      replace: "left < 0; left = countPending",
    }],
    within: { mode: "snapshots" },
  },
  {
    name: "cursors and marks of a snapshot are from after its rows",
    changes: [
      {
        file: SAVER,
        find: 'import { statfsSync, statSync } from "node:fs";',
        replace:
          'import { statfsSync, statSync } from "node:fs";\nimport { DatabaseSync } from "node:sqlite";\n',
      },
      { file: SAVER, find: WAIT, replace: `${WAIT}\n      takePositions(dbPath, copy);` },
      {
        file: SAVER,
        find: "/** Does both beside each other; where one fails",
        replace: `function takePositions(from: string, to: string): void {
  const copy = new DatabaseSync(to);
  copy.exec(\`ATTACH '\${from}' AS live\`);
  for (const table of ["__marmot__stream", "__marmot__origin"]) {
    copy.exec(\`DELETE FROM main.\${table}; INSERT INTO main.\${table} SELECT * FROM live.\${table}\`);
  }
  copy.close();
}

/** Does both beside each other; where one fails`,
      },
    ],
    within: { mode: "snapshots" },
  },
  {
    name: "cursors of a snapshot are from before its rows",
    changes: inCopy("UPDATE __marmot__stream SET cursor = max(0, cursor - 2), stored_at = ''"),
    within: { mode: "snapshots" },
  },
  {
    name: "cursors and marks of a snapshot are from before its rows",
    changes: inCopy(
      "UPDATE __marmot__stream SET cursor = max(0, cursor - 2), stored_at = ''; DELETE FROM __marmot__origin",
    ),
    within: { mode: "snapshots" },
  },
  {
    name: "parts of a row are not in the snapshot",
    changes: [{ file: STRIP, find: '  "__marmot__part",\n', replace: "" }],
    within: { history: "a_snapshot_ends_in_the_middle_of_a_row" },
  },
  {
    name: "a snapshot is saved while rows are hidden",
    changes: [{
      file: "src/db/snapshot/copy_facts.ts",
      find: 'has("__marmot__hidden")',
      replace: 'has("__marmot__hidden WHERE 0")',
    }],
    within: { history: "a_snapshot_is_saved_while_a_row_is_hidden" },
  },
  {
    name: "a snapshot that ends before a stream begins is taken",
    changes: [{
      file: "src/node/snapshot/candidates.ts",
      find: "if (state.firstSequence <= cursor + 1) continue;",
      replace: "if (state.firstSequence > 0 || cursor > 0) continue;",
    }],
    within: { mode: "snapshots" },
  },
  {
    name: "the change log stays in the snapshot",
    changes: [{
      file: STRIP,
      find: KEPT,
      replace: `  "__marmot__change_log",\n  "__marmot__settled",\n${KEPT}`,
    }],
    within: { history: "a_snapshot_has_changes_of_its_saver" },
  },
  {
    name: "a snapshot is the file of another node",
    changes: [{
      file: STRIP,
      find: KEPT,
      replace: `  "__marmot__change_log",\n  "__marmot__settled",\n  "__marmot__meta",\n${KEPT}`,
    }],
    within: { mode: "snapshots" },
  },
  {
    name: "tables in a snapshot have triggers on record that are not there",
    changes: [{ file: STRIP, find: FORGET, replace: "    void forgetTriggers;\n" }],
    within: { mode: "snapshots" },
  },
  {
    name: "what a node had published before its file was lost settles what it writes now",
    changes: [{
      file: "src/db/replica.ts",
      find: "firstRun: firstRunOf(connection, nodeId, this.run),",
      replace: "firstRun: Math.min(0, firstRunOf(connection, nodeId, this.run)),",
    }],
    within: { history: "a_node_without_its_file_writes_what_it_had_written" },
  },
  {
    name: "a node that takes a snapshot over does not ask what became of what is in flight",
    changes: [{
      file: LATE,
      find: "stored: await publisher.halt(shard, signal),",
      replace: "stored: publisher === undefined ? await Promise.resolve([]) : [],",
    }],
    within: { history: "a_late_node_has_written_before_the_snapshot" },
  },
  {
    name: "own changes that a snapshot has are published again",
    changes: [{
      file: MERGE,
      find: "for (const stored of this.#request.stored) this.#settle(stored);",
      replace: "void this.#settle;",
    }],
    within: { history: "a_late_node_has_written_before_the_snapshot" },
  },
  {
    name: "own changes behind the end of a snapshot count as published",
    changes: [{
      file: MERGE,
      find: "if (!table || sequence > this.#saved.positions.get(stream).cursor) return;",
      replace: "if (!table) return;",
    }],
    within: { history: "a_late_node_has_written_behind_the_snapshot" },
  },
  {
    name: "hidden rows outlive the snapshot that has them",
    changes: [{
      file: MERGE,
      find: "for (const { live } of this.#pairs) hidden.dropAll(live.id);",
      replace: "void hidden;",
    }],
    within: { history: "a_hidden_row_is_gone_from_the_snapshot" },
  },
  {
    name: "parts of a row are not taken over from a snapshot",
    changes: [{
      file: MERGE,
      find: "parts.takeOver(stream, this.#saved.connection);",
      replace: "void parts;",
    }],
    within: { history: "a_late_node_begins_in_the_middle_of_a_row" },
  },
  {
    name: "marks are not taken over from a snapshot",
    changes: [{
      file: MERGE,
      find: "positions.takeOver(stream, this.#saved.positions);",
      replace: "positions.set(this.#saved.positions.get(stream));\n    positions.save();",
    }],
    within: { mode: "late nodes" },
  },
  {
    name: "a snapshot that ends before a stream begins is taken over",
    changes: [{
      file: LATE,
      find: "if (state.firstSequence <= place.cursor + 1) return undefined;",
      replace: "if (state.firstSequence > 0) return undefined;",
    }],
    within: { mode: "late nodes" },
  },
  {
    name: "rows that a snapshot does not have stay",
    changes: [{
      file: "src/db/snapshot/table_difference.ts",
      find: 'if (!isSpared(key, identity)) gone.push({ kind: "delete", key });',
      replace: "void [isSpared, gone];",
    }],
    within: { mode: "late nodes" },
  },
];
