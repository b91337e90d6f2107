/** `marmot conflicts`: which changes lost, to what, and why. */

import { numberOption } from "../../config/option.ts";
import {
  type ConflictRecord,
  countConflicts,
  findConflict,
  listConflicts,
} from "../../db/operator/conflict_list.ts";
import { withOperatorAccess } from "../../db/operator/operator_access.ts";
import { MarmotError } from "../../errors.ts";
import { defineCommand } from "../command.ts";
import { joinLines, jsonText } from "../text.ts";
import { parseRecordId } from "../record_id.ts";
import { eventLines, eventsJson, eventSummary, plainText, timeText } from "../value_text.ts";

const LIST = "marmot conflicts";

/** Kinds in words. */
const REASONS: Readonly<Record<string, string>> = {
  overwritten: "a change of the same row on the winning node stands later in the stream",
  displaced: "the row held a UNIQUE value that a later change took",
  "hidden-dropped":
    "the row waited beside a change that it clashed with, until a later change took its key or value",
};

export const conflictsCommand = defineCommand({
  name: "conflicts",
  text:
    "Shows the changes that lost against another: each losing row, who lost, who won, where, when and why.",
  options: {
    limit: numberOption({
      flag: "limit",
      defaultValue: 20,
      minimum: 1,
      maximum: 1_000_000,
      text: "How many conflicts to list, the newest first.",
    }),
  },
  forms: [
    {
      words: "",
      text: "Lists the conflicts on record, the newest first.",
      run({ options, terminal }) {
        const { conflicts, count } = withOperatorAccess(options.dbPath, (connection) => ({
          conflicts: listConflicts(connection, options.limit),
          count: countConflicts(connection),
        }));
        terminal.writeOutput(
          options.json ? jsonText(conflicts.map(conflictJson)) : listText(conflicts, count),
        );
      },
    },
    {
      words: "show ID",
      text: "Shows one conflict with its whole losing row.",
      run({ words, options, terminal }) {
        const id = parseRecordId(words[0], LIST);
        const conflict = withOperatorAccess(options.dbPath, (connection) => findConflict(connection, id));
        if (!conflict) {
          throw new MarmotError("database", `Cannot show conflict ${id}: none of that ID is on record`, {
            hint: `${LIST} lists the IDs.`,
          });
        }
        terminal.writeOutput(options.json ? jsonText(conflictJson(conflict)) : conflictText(conflict));
      },
    },
  ],
});

function listText(conflicts: readonly ConflictRecord[], count: number): string {
  if (conflicts.length === 0) return "No conflicts are on record.\n";
  const lines = conflicts.flatMap((conflict) => [
    `${conflict.id}  ${timeText(conflict.atMs)}  ${plainText(conflict.table)}: ${sidesText(conflict)}`,
    `    ${summaryOf(conflict)}`,
  ]);
  if (count > conflicts.length) {
    lines.push(`${count - conflicts.length} older ones: -limit ${count} lists all.`);
  }
  return joinLines(lines);
}

function conflictText(conflict: ConflictRecord): string {
  return joinLines([
    `conflict ${conflict.id} in table ${plainText(conflict.table)}, ${timeText(conflict.atMs)}`,
    `  ${sidesText(conflict)}`,
    `  why: ${REASONS[conflict.kind] ?? plainText(conflict.kind)}`,
    "  what lost:",
    ...(typeof conflict.losing === "string"
      ? [`    ${plainText(conflict.losing)}`]
      : eventLines(conflict.losing, "    ")),
  ]);
}

function sidesText(conflict: ConflictRecord): string {
  const lost = conflict.losingOrigin === null
    ? "a row here lost"
    : `a change of node ${conflict.losingOrigin} lost`;
  const won = conflict.winnerOrigin === null ? "a later change" : `node ${conflict.winnerOrigin}`;
  const where = conflict.winnerStream === null || conflict.winnerSequence === null
    ? "its place in the stream is not on record"
    : `sequence ${conflict.winnerSequence} of ${plainText(conflict.winnerStream)}`;
  return `${lost} to ${won} (${where})`;
}

function summaryOf({ losing }: ConflictRecord): string {
  if (typeof losing === "string") return plainText(losing);
  return losing.events.map((event) => eventSummary(losing, event)).join("; ");
}

function conflictJson(conflict: ConflictRecord): unknown {
  const { losing, atMs, ...rest } = conflict;
  return {
    ...rest,
    at: timeText(atMs),
    why: REASONS[conflict.kind] ?? conflict.kind,
    losing: typeof losing === "string" ? { unreadable: losing } : eventsJson(losing),
  };
}
