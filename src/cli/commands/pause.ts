/** `marmot pause`: takes the capture triggers away for a migration, and puts them back. */

import { switchOption } from "../../config/option.ts";
import { beginPause, captureTriggerNames, endPause, readPause } from "../../db/capture/pause.ts";
import { withOperatorAccess } from "../../db/operator/operator_access.ts";
import { MarmotError } from "../../errors.ts";
import { systemClock } from "../../runtime/clock.ts";
import { type Call, defineCommand } from "../command.ts";
import { jsonText } from "../text.ts";
import { timeText } from "../value_text.ts";
import { waitForNode } from "../waiting.ts";

const OPTIONS = {
  end: switchOption({
    flag: "end",
    defaultValue: false,
    text: "End the pause.",
  }),
};

export const pauseCommand = defineCommand({
  name: "pause",
  text: "Takes Marmot's triggers away for a migration, until marmot pause -end.",
  options: OPTIONS,
  forms: [
    {
      words: "",
      text:
        "Removes the capture triggers, so that columns and indexes can be dropped and tables rebuilt. Until -end the " +
        "node captures, publishes and applies nothing; then it publishes the rows of every table again, and " +
        "what other nodes wrote to the same rows meanwhile wins.",
      run: (call) => call.options.end ? end(call) : begin(call),
    },
  ],
});

function begin({ options, terminal }: Call<typeof OPTIONS>): void {
  const pause = withOperatorAccess(
    options.dbPath,
    (connection) => beginPause(connection, systemClock.nowMs()),
  );
  const since = timeText(pause.sinceMs);
  if (options.json) {
    return terminal.writeOutput(jsonText({ isPaused: true, since, triggersRemoved: pause.triggers }));
  }
  terminal.writeOutput(
    (pause.wasPaused
      ? `Capture is paused already, since ${since}.\n`
      : `Capture is paused: ${pause.triggers} triggers were removed.\n`) +
      `End the pause after the migration: marmot pause -end -db-path ${options.dbPath}\n`,
  );
}

async function end({ options, terminal, stop }: Call<typeof OPTIONS>): Promise<void> {
  const sinceMs = withOperatorAccess(options.dbPath, endPause);
  if (sinceMs === undefined) {
    throw new MarmotError("database", `Cannot end the pause of "${options.dbPath}": capture is not paused`);
  }
  // A pause that begins again meanwhile is another one.
  const isArmed = await waitForNode(() =>
    withOperatorAccess(
      options.dbPath,
      (connection) => captureTriggerNames(connection).length > 0 || readPause(connection) !== undefined,
    ), stop);
  if (options.json) {
    terminal.writeOutput(jsonText({ isPaused: false, since: timeText(sinceMs), isCapturedAgain: isArmed }));
    return;
  }
  terminal.writeOutput(
    isArmed
      ? "The pause is over, and the node captures again.\n"
      : "The pause is over. No node runs on this database: capture begins again when one starts, and what is\n" +
        "written until then is found too.\n",
  );
}
