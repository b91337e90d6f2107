/** `marmot parked`: tables whose events wait for the local schema, and the way out of an event that never fits. */

import { numberOption, switchOption } from "../../config/option.ts";
import { withOperatorAccess } from "../../db/operator/operator_access.ts";
import {
  discardWaiting,
  listParkedTables,
  listTablesInNeedOfResync,
  listWaiting,
  type WaitingMessage,
} from "../../db/operator/parked_tables.ts";
import { MarmotError } from "../../errors.ts";
import { systemClock } from "../../runtime/clock.ts";
import { type Call, defineCommand } from "../command.ts";
import { isConfirmed, yesOption } from "../confirmation.ts";
import { decodedJson, decodedLines } from "../message_text.ts";
import { counted, joinLines, jsonText } from "../text.ts";
import { plainText, timeText } from "../value_text.ts";

const OPTIONS = {
  limit: numberOption({
    flag: "limit",
    defaultValue: 5,
    minimum: 1,
    maximum: 1_000_000,
    text: "How many waiting messages of a table to show, the first ones.",
  }),
  all: switchOption({
    flag: "all",
    defaultValue: false,
    text: "Discard all waiting messages of the table, not the first only.",
  }),
  yes: yesOption,
};

type ParkedCall = Call<typeof OPTIONS>;

export const parkedCommand = defineCommand({
  name: "parked",
  text: "Shows the tables whose events wait for the local schema to fit.",
  options: OPTIONS,
  forms: [
    {
      words: "",
      text: "Lists the parked tables: why, since which sequence, and how many messages wait.",
      run: list,
    },
    { words: "show TABLE", text: "Shows the messages of a table that wait, in order.", run: show },
    {
      words: "discard TABLE",
      text:
        "Moves the first waiting message of a table to the quarantine, so that the node goes on behind it. The other " +
        "nodes keep what it says: this one differs from them until those rows are written again.",
      run: discard,
    },
  ],
});

function list({ options, terminal }: ParkedCall): void {
  const { tables, resync } = withOperatorAccess(options.dbPath, (connection) => ({
    tables: listParkedTables(connection),
    resync: listTablesInNeedOfResync(connection),
  }));
  if (options.json) {
    const needs = resync.map(({ sinceMs, ...rest }) => ({ ...rest, since: timeText(sinceMs) }));
    return terminal.writeOutput(jsonText({ parked: tables, inNeedOfResync: needs }));
  }
  const lines = tables.flatMap((table) => [
    `${plainText(table.table)}: ${counted(table.messages, "message")} (${table.bytes} bytes) wait, ` +
    `since sequence ${table.sequence} of ${plainText(table.stream)}`,
    `    ${plainText(table.reason)}`,
  ]);
  for (const { table, lost, sinceMs } of resync) {
    lines.push(
      `${plainText(table)}: needs a new copy, ${counted(lost, "message")} were lost to it since ${
        timeText(sinceMs)
      }`,
    );
  }
  terminal.writeOutput(joinLines(lines.length === 0 ? ["No table is parked."] : lines));
}

function show({ words, options, terminal }: ParkedCall): void {
  const table = words[0] ?? "";
  const messages = withOperatorAccess(
    options.dbPath,
    (connection) => listWaiting(connection, table, options.limit),
  );
  if (messages.length === 0) throw notParked("show", table);
  terminal.writeOutput(
    options.json ? jsonText(messages.map(waitingJson)) : joinLines(messages.flatMap(waitingLines)),
  );
}

function discard({ words, options, terminal }: ParkedCall): void {
  const table = words[0] ?? "";
  const first = withOperatorAccess(options.dbPath, (connection) => listWaiting(connection, table, 1))[0];
  if (!first) throw notParked("discard", table);
  const shown = JSON.stringify(table);
  const what = options.all
    ? `all waiting messages of table ${shown}`
    : `the first waiting message of table ${shown} (sequence ${first.sequence} of ${first.stream})`;
  if (!isConfirmed(terminal, { isYes: options.yes, what })) {
    return terminal.writeOutput(options.json ? jsonText({ discarded: 0 }) : "Nothing was discarded.\n");
  }
  const how = {
    isAll: options.all,
    nowMs: systemClock.nowMs(),
    ...(options.all ? {} : { firstId: first.id }),
  };
  const gone = withOperatorAccess(options.dbPath, (connection) => discardWaiting(connection, table, how));
  terminal.writeOutput(
    options.json
      ? jsonText({ discarded: gone })
      : `${
        counted(gone, "message")
      } moved to the quarantine: marmot quarantine lists them. A running node goes on behind them.\n`,
  );
}

function waitingLines({ stream, sequence, reason, decoded, origin }: WaitingMessage): string[] {
  return [
    `sequence ${sequence} of ${plainText(stream)}, of node ${plainText(origin)}`,
    `  why: ${plainText(reason)}`,
    ...decodedLines({ ...decoded, head: undefined }),
  ];
}

function waitingJson({ decoded, ...rest }: WaitingMessage): unknown {
  return { ...rest, ...decodedJson({ ...decoded, head: undefined }) };
}

function notParked(verb: string, table: string): MarmotError {
  return new MarmotError(
    "database",
    `Cannot ${verb} waiting messages of table ${JSON.stringify(table)}: none wait`,
    { hint: "marmot parked lists the tables that are parked." },
  );
}
