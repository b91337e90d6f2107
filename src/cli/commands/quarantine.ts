/** `marmot quarantine`: messages that could not be applied, to be looked at, tried again, or discarded. */

import { numberOption } from "../../config/option.ts";
import { withOperatorAccess } from "../../db/operator/operator_access.ts";
import {
  countMarked,
  countQuarantine,
  discardQuarantined,
  findQuarantined,
  listQuarantine,
  markForRetry,
  type QuarantineRecord,
} from "../../db/operator/quarantine_box.ts";
import { MarmotError } from "../../errors.ts";
import { type Call, defineCommand } from "../command.ts";
import { isConfirmed, yesOption } from "../confirmation.ts";
import { messageJson, messageLines } from "../message_text.ts";
import { parseRecordId } from "../record_id.ts";
import { counted, joinLines, jsonText } from "../text.ts";
import { plainText, timeText } from "../value_text.ts";
import { waitForNode } from "../waiting.ts";

const LIST = "marmot quarantine";

const OPTIONS = {
  limit: numberOption({
    flag: "limit",
    defaultValue: 20,
    minimum: 1,
    maximum: 1_000_000,
    text: "How many messages to list, the newest first.",
  }),
  yes: yesOption,
};

type QuarantineCall = Call<typeof OPTIONS>;

export const quarantineCommand = defineCommand({
  name: "quarantine",
  text: "Looks after the messages that could not be applied and were put aside.",
  options: OPTIONS,
  forms: [
    { words: "", text: "Lists the messages in quarantine, the newest first.", run: list },
    { words: "show ID", text: "Shows one message, decoded as far as possible, and its bytes.", run: show },
    {
      words: "retry ID",
      text:
        "Has the node try a message again, or all. It is applied where its table has taken no change since, and stays " +
        "otherwise: it could undo later changes.",
      run: retry,
    },
    { words: "discard ID", text: "Removes a message for good, or all.", run: discard },
  ],
});

function list({ options, terminal }: QuarantineCall): void {
  const { records, count } = withOperatorAccess(options.dbPath, (connection) => ({
    records: listQuarantine(connection, options.limit),
    count: countQuarantine(connection),
  }));
  if (options.json) return terminal.writeOutput(jsonText(records.map(recordJson)));
  if (count === 0) return terminal.writeOutput("Nothing is in quarantine.\n");
  const lines = records.flatMap((record) => [headLine(record), `    ${plainText(record.reason)}`]);
  if (count > records.length) lines.push(`${count - records.length} older ones: -limit ${count} lists all.`);
  terminal.writeOutput(joinLines(lines));
}

function show({ words, options, terminal }: QuarantineCall): void {
  const id = parseRecordId(words[0], LIST);
  const record = withOperatorAccess(options.dbPath, (connection) => findQuarantined(connection, id));
  if (!record) throw notFound("show", id);
  const { payload, ...head } = record;
  terminal.writeOutput(
    options.json ? jsonText({ ...recordJson(head), ...messageJson(head.format, payload) }) : joinLines([
      headLine(head),
      `  subject ${plainText(head.subject)}, ` +
      (head.format === null ? "no format header" : `format ${plainText(head.format)}`),
      `  why: ${plainText(head.reason)}`,
      ...messageLines(head.format, payload),
    ]),
  );
}

async function retry({ words, options, terminal, stop }: QuarantineCall): Promise<void> {
  const id = parseIdOrAll(words[0]);
  const use = <T>(work: (connection: Parameters<typeof countMarked>[0]) => T) =>
    withOperatorAccess(options.dbPath, work);
  const marked = use((connection) => markForRetry(connection, id));
  if (marked.length === 0 && id !== undefined) throw notFound("try", id, " again");
  const isTaken = await waitForNode(() => use(countMarked) === 0, stop);
  const left = use((connection) => listQuarantine(connection, Number.MAX_SAFE_INTEGER));
  const staying = left.filter((record) => marked.includes(record.id));
  if (options.json) {
    const still = staying.map(({ id, reason, isMarked }) => ({ id, reason, isMarked }));
    return terminal.writeOutput(jsonText({ marked: marked.length, isTakenUp: isTaken, staying: still }));
  }
  if (!isTaken) {
    terminal.writeOutput(
      `${
        counted(marked.length, "message")
      } marked. No node has taken up all that is marked: it is done when a node runs on this\n` +
        "database and has published what waits there.\n",
    );
    return;
  }
  terminal.writeOutput(joinLines([
    `${counted(marked.length - staying.length, "message")} applied, ${staying.length} stay in quarantine.`,
    ...staying.map((record) => `  ${record.id}: ${plainText(record.reason)}`),
  ]));
}

function discard({ words, options, terminal }: QuarantineCall): void {
  const id = parseIdOrAll(words[0]);
  const what = id === undefined ? "all messages in quarantine" : `message ${id} in quarantine`;
  if (
    id !== undefined && !withOperatorAccess(options.dbPath, (connection) => findQuarantined(connection, id))
  ) {
    throw notFound("discard", id);
  }
  if (!isConfirmed(terminal, { isYes: options.yes, what })) {
    return terminal.writeOutput(options.json ? jsonText({ discarded: 0 }) : "Nothing was discarded.\n");
  }
  const gone = withOperatorAccess(options.dbPath, (connection) => discardQuarantined(connection, id));
  terminal.writeOutput(
    options.json ? jsonText({ discarded: gone }) : `${counted(gone, "message")} discarded.\n`,
  );
}

/** undefined stands for all. */
function parseIdOrAll(word: string | undefined): bigint | undefined {
  return word === "all" ? undefined : parseRecordId(word, LIST);
}

function notFound(verb: string, id: bigint, behind = ""): MarmotError {
  return new MarmotError("database", `Cannot ${verb} message ${id}${behind}: it is not in quarantine`, {
    hint: `${LIST} lists the IDs.`,
  });
}

function headLine({ id, atMs, stream, sequence, bytes, isMarked }: QuarantineRecord): string {
  const mark = isMarked ? ", to be tried again" : "";
  return `${id}  ${timeText(atMs)}  sequence ${sequence} of ${plainText(stream)}, ${bytes} bytes${mark}`;
}

function recordJson({ atMs, ...record }: QuarantineRecord): Record<string, unknown> {
  return { ...record, at: timeText(atMs) };
}
