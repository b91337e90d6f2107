/** Deliberate faults in capturing and publishing. */
import type { Fault } from "../deliberate_faults.ts";

const CHECKED = "src/node/checked_publisher.ts";
const PUBLISHER = "src/node/publisher.ts";
const SENDER = "src/node/message_sender.ts";
const SHARD = "src/node/shard_publishing.ts";
const PUBLISH =
  "const sequence = await streams.publish({ shard: state.shard, table, format, payload, ...condition });";

export const PUBLISHING_FAULTS: readonly Fault[] = [
  {
    name: "an acknowledgement moves the cursor",
    changes: [
      {
        file: SENDER,
        find: PUBLISH,
        replace: `${PUBLISH}
      const { replica } = this.parts as unknown as { replica: import("../db/replica.ts").Replica };
      const at = replica.positions.all()[state.shard - 1];
      if (at && sequence > at.cursor) {
        replica.connection.write(() => {
          replica.positions.set({ ...at, cursor: sequence, storedAt: "" });
          replica.positions.save();
        });
      }`,
      },
      {
        file: "src/db/apply/applier.ts",
        find: "if (message.sequence !== expected) {",
        replace: "if (message.sequence < expected) return;\n    if (message.sequence !== expected) {",
      },
    ],
    within: { mode: "any" },
  },
  {
    name: "an acknowledgement ends the entries of the change log",
    changes: [
      {
        file: SENDER,
        find: PUBLISH,
        replace: `${PUBLISH}
      (this.parts as unknown as { replica: { endAtAck(table: string | null, top: number): void } }).replica
        .endAtAck(table, message.top);`,
      },
      {
        file: "src/db/replica.ts",
        find: "  /** Tables with messages that wait for their schema. */",
        replace: `  endAtAck(name: string | null, top: number): void {
    const id = this.tables.byName(name ?? "")?.id;
    this.#write(() => {
      const entries = this.log.read(0, 1_000_000).filter((e) => e.tableId === id && e.id <= top);
      this.log.delete(entries.map((entry) => entry.id));
    });
    this.#pending.reset();
  }

  /** Tables with messages that wait for their schema. */`,
      },
    ],
    within: { mode: "any" },
  },
  {
    name: "the same bytes are sent again after a failure",
    changes: [
      {
        file: SENDER,
        find: PUBLISH,
        replace: `const send = () =>
        streams.publish({ shard: state.shard, table, format, payload, ...condition });
      const sequence = await send().catch((error) => {
        if (expected !== undefined) throw error;
        return send();
      });`,
      },
    ],
    within: { mode: "any" },
  },
  {
    name: "numbers begin anew after a failure",
    changes: [{
      file: SHARD,
      find: "    this.position = 0;\n    this.unread",
      replace: "    this.position = 0;\n    this.#number = 0;\n    this.unread",
    }],
    within: { mode: "any" },
  },
  {
    name: "backfill is published without the expected sequence",
    changes: [{
      file: CHECKED,
      find: "await sender.send(state, message, expected)",
      replace: "await sender.send(state, message)",
    }],
    within: { mode: "rollout" },
  },
  {
    name: "what failed is published as if nothing had happened",
    changes: [{
      file: PUBLISHER,
      find: "if (state.checkedTo > 0 || this.#isImageDue(state.shard))",
      replace: "if (this.#isImageDue(state.shard))",
    }],
    within: { mode: "turns" },
  },
  {
    name: "the expected sequence is asked for after the image was read",
    changes: [
      {
        file: CHECKED,
        find:
          "const expected = isOriginal ? undefined : await this.#lastReadSequence(state, table.firstName, signal);\n",
        replace: "",
      },
      {
        file: CHECKED,
        find: "    if (!again || !isChecked(state, signal)) return false;\n",
        replace:
          "    const expected = isOriginal ? undefined : await this.#lastReadSequence(state, table.firstName, signal);\n" +
          "    if (!again || !isChecked(state, signal)) return false;\n",
      },
    ],
    within: { mode: "rollout" },
  },
  {
    name: "the expected sequence need not have been read",
    changes: [{
      file: CHECKED,
      find: "if (last <= cursorOf(state.shard)) return last;",
      replace: "return last;",
    }],
    within: { mode: "rollout" },
  },
  {
    name: "the position is kept over a failure",
    changes: [{ file: SHARD, find: "    this.position = 0;\n    this.unread", replace: "    this.unread" }],
    within: { mode: "any" },
  },
  {
    name: "what was sent before a failure is not in doubt",
    changes: [{
      file: PUBLISHER,
      find: "this.#drain(state, Math.max(state.position, top));",
      replace: "this.#drain(state, 0);",
    }],
    within: { mode: "turns" },
  },
  {
    name: "a shard does not drain when its stream is read anew",
    changes: [{
      file: "src/node/shard_reader.ts",
      find: "    this.#parts.onBegin(this.#shard);\n",
      replace: "",
    }],
    within: { mode: "unsafe broker" },
  },
  {
    name: "a run follows the last on record alone",
    changes: [{
      file: "src/db/replica.ts",
      find: "Math.max(options.nowMs(), lastRun + 1, this.positions.highestRun(nodeId) + 1)",
      replace: "lastRun + 1",
    }],
    within: { mode: "files" },
  },
  {
    name: "log ids are used again",
    changes: [
      { file: "src/db/capture/change_log.ts", find: "if (to === highest) {", replace: "if (to < 0) {" },
      { file: "src/db/capture/change_log.ts", find: "to === highest ? to - 1 : to", replace: "to" },
    ],
    within: { mode: "any" },
  },
  {
    name: "a change of the key logs the new key alone",
    changes: [{
      file: "src/db/capture/capture_triggers.ts",
      find: '    make("key", `AFTER UPDATE ${on} WHEN ${moved}`, log("OLD")),\n',
      replace: "",
    }],
    within: { mode: "any" },
  },
];
