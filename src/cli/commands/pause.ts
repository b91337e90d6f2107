/** `marmot pause`: stops the node for a migration and takes the triggers away that are in its way. */

import { switchOption } from "../../config/option.ts";
import { beginPause, endPause, isPauseOpen, readPause } from "../../db/capture/pause.ts";
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
  text:
    "Stops the node for a migration, and takes triggers that are in its way away, until marmot pause -end.",
  options: OPTIONS,
  forms: [
    {
      words: "",
      text:
        "Removes the capture triggers of UNIQUE indexes until -end, so that columns and indexes can be dropped. " +
        "Meanwhile the node publishes and applies nothing; what is written goes out then.",
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
      ? `Paused already, since ${since}.\n`
      : `Paused: ${pause.triggers} triggers were removed, the others go on capturing.\n`) +
      `End the pause after the migration: marmot pause -end -db-path ${options.dbPath}\n`,
  );
}

async function end({ options, terminal, stop }: Call<typeof OPTIONS>): Promise<void> {
  const sinceMs = withOperatorAccess(options.dbPath, endPause);
  if (sinceMs === undefined) {
    throw new MarmotError("database", `Cannot end the pause of "${options.dbPath}": it is not paused`);
  }
  // A pause that begins again meanwhile is another one.
  const isArmed = await waitForNode(() =>
    withOperatorAccess(
      options.dbPath,
      (connection) => !isPauseOpen(connection) || readPause(connection) !== undefined,
    ), stop);
  if (options.json) {
    terminal.writeOutput(
      jsonText({ isPaused: false, since: timeText(sinceMs), isReplicatingAgain: isArmed }),
    );
    return;
  }
  terminal.writeOutput(
    isArmed
      ? "The pause is over, and the node replicates again.\n"
      : "The pause is over. No node has noticed yet: what was written goes out when one runs on this database.\n",
  );
}
