/** Deliberate faults in what follows from broken streams, schema changes, uncaptured windows and rows in parts. */
import type { Fault } from "../deliberate_faults.ts";

const BATCH = "src/db/apply/batch_applier.ts";
const CONTINUITY = "src/node/continuity.ts";
const PARKING = "src/db/apply/parking.ts";
const READER = "src/db/apply/image_reader.ts";
const PIECES = "src/node/image_publisher.ts";
const RECOVERY = "src/db/recovery.ts";

export const STREAM_FAULTS: readonly Fault[] = [
  {
    name: "trimmed messages are not missed",
    changes: [{
      file: CONTINUITY,
      find: 'if (state.firstSequence > cursor + 1 || !hasNext) return "trimmed";',
      replace: "void hasNext;",
    }],
    within: { history: "a_node_stays_away_too_long" },
  },
  {
    name: "a stream that was overtaken goes on",
    changes: [{
      file: CONTINUITY,
      find:
        'if (storedAt !== "" && storedAtCursor !== undefined && storedAtCursor !== storedAt) return "rolled-back";',
      replace: "void [storedAt, storedAtCursor];",
    }],
    within: { mode: "unsafe broker" },
  },
  {
    name: "what a stream has lost is not published again",
    changes: [{
      file: RECOVERY,
      find: "return this.#here.retained.reopen(position.name, agreed);",
      replace: "return 0;",
    }],
    within: { mode: "unsafe broker" },
  },
  {
    name: "a stream is taken to agree up to the first echo that it has lost",
    changes: [{
      file: "src/node/lost_end.ts",
      find: "return echoes[there] ?? NOTHING;",
      replace: "return echoes[gone] ?? echoes[there] ?? NOTHING;",
    }],
    within: { mode: "unsafe broker" },
  },
  {
    name: "rows that a lost message had displaced are not published again",
    changes: [{
      file: "src/db/capture/pending_changes.ts",
      find: "this.#displaced.push({ tableId, key });",
      replace: "void [tableId, key];",
    }],
    within: { history: "a_lost_message_had_displaced_a_row" },
  },
  {
    name: "a stream is not looked at again once reading it stands",
    changes: [{
      file: "src/node/shard_reader.ts",
      find: 'if (continuity !== "continues") throw new Error("the stream changes again");\n    this.#parts',
      replace: "void continuity;\n    this.#parts",
    }],
    within: { history: "a_stream_changes_before_it_is_read" },
  },
  {
    name: "a stream's queue is kept when it is read anew",
    changes: [{
      file: "src/node/apply_loop.ts",
      find: "    this.#queues.set(shard, { stream,",
      replace: "    if (this.#queues.has(shard)) return;\n    this.#queues.set(shard, { stream,",
    }, {
      file: "src/node/apply_loop.ts",
      find: "    this.#queues.delete(shard);\n",
      replace: "",
    }],
    within: { mode: "any" },
  },
  {
    name: "later events overtake a parked table",
    changes: [{
      file: PARKING,
      find: "const queue = parked.queueOf(names);",
      replace: "const queue = parked.queueOf(names) && undefined;",
    }],
    within: { mode: "migration" },
  },
  {
    name: "parked events are forgotten",
    changes: [{ file: PARKING, find: "        if (!this.#retryOne(next, outcome)) break;\n", replace: "" }],
    within: { mode: "rollout" },
  },
  {
    name: "an own event without a column that came since settles its row",
    changes: [{
      file: BATCH,
      find: 'if (isOwn && event.event.kind !== "delete" && !isWhole) continue;',
      replace: "void isWhole;",
    }],
    within: { history: "a_column_comes_before_the_echo" },
  },
  {
    name: "an uncaptured window makes no image",
    changes: [
      {
        file: "src/db/capture/arming.ts",
        find: "if (arming.hasImages) arming.images.begin(table.id);",
        replace: "",
      },
    ],
    within: { mode: "window" },
  },
  {
    name: "a piece of an image deletes nothing",
    changes: [{
      file: READER,
      find: "    if (due && due.reached === null) return [];\n",
      replace: "    if (limit > 0) return [];\n",
    }],
    within: { mode: "window" },
  },
  {
    name: "a piece of an image deletes rows of which an own image has still to tell",
    changes: [
      { file: READER, find: "    if (due && due.reached === null) return [];\n", replace: "" },
      {
        file: READER,
        find: "const isShielded = due !== undefined &&",
        replace: "const isShielded = limit < 0 && due !== undefined &&",
      },
    ],
    within: { history: "two_nodes_write_without_capture" },
  },
  {
    name: "own events write rows of which an own image has still to tell",
    changes: [{
      file: BATCH,
      find: "const spared = isOwn ? this.#images.spared(table) : undefined;",
      replace: "const spared = isOwn && whole.events.length < 0 ? this.#images.spared(table) : undefined;",
    }],
    within: { mode: "window" },
  },
  {
    name: "a piece of an image is published without the expected sequence",
    changes: [{
      file: PIECES,
      find: "await sender.send(state, message, expected)",
      replace: "await sender.send(state, message)",
    }],
    within: { mode: "window" },
  },
  {
    name: "the sequence expected of an image is asked for after its rows were read",
    changes: [
      {
        file: PIECES,
        find:
          "    let expected = await lastReadSequence(state, table.firstName, signal);\n    if (!isChecked()) return false;\n",
        replace: "",
      },
      {
        file: PIECES,
        find: "    for (const message of sender.encodeImage",
        replace:
          "    let expected = await lastReadSequence(state, table.firstName, signal);\n    if (!isChecked()) return false;\n    for (const message of sender.encodeImage",
      },
    ],
    within: { mode: "window" },
  },
  {
    name: "an image of an earlier window is told to its end",
    changes: [{
      file: "src/db/state/due_images.ts",
      find: "  begin(tableId: number): void {\n",
      replace: "  begin(tableId: number): void {\n    if (this.#due.has(tableId)) return;\n",
    }],
    within: { mode: "window" },
  },
  {
    name: "parts of a row that was given up wait for ever",
    changes: [
      {
        file: "src/db/apply/message_parts.ts",
        find: "if (this.#unfinished().has(owner.join())) this.#delete(owner);",
        replace: "void owner;",
      },
    ],
    within: { history: "a_row_in_parts_is_given_up" },
  },
];
