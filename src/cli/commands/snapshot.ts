/** `marmot snapshot`: what a store holds, and saving into it and taking from it by hand. */

import { numberOption } from "../../config/option.ts";
import { MAX_LOG_REPLICAS, OPTIONS } from "../../config/options.ts";
import { saveSnapshotOnce } from "../../node/snapshot/save_once.ts";
import { createLog } from "../../observability/console_log.ts";
import { silentLog } from "../../observability/log.ts";
import type { SnapshotEntry } from "../../snapshot/manifest.ts";
import { type Call, defineCommand } from "../command.ts";
import { withProgress } from "../progress_line.ts";
import { jsonText } from "../text.ts";
import { timeText } from "../value_text.ts";

const SNAPSHOT_OPTIONS = {
  natsUrls: OPTIONS.natsUrls,
  streamPrefix: OPTIONS.streamPrefix,
  snapshotUrl: OPTIONS.snapshotUrl,
  logReplicas: numberOption({
    flag: "log-replicas",
    defaultValue: 1,
    minimum: 1,
    maximum: MAX_LOG_REPLICAS,
    text: "How many NATS servers keep a store in NATS that is made now.",
  }),
  wireFormat: OPTIONS.wireFormat,
};

type SnapshotCall = Call<typeof SNAPSHOT_OPTIONS>;

export const snapshotCommand = defineCommand({
  name: "snapshot",
  text: "Saves snapshots, from which new nodes get their database.",
  options: SNAPSHOT_OPTIONS,
  forms: [
    {
      words: "save",
      text: "Saves a snapshot of the database, beside a running node or without one.",
      run: save,
    },
  ],
});

async function save({ options, terminal, stop }: SnapshotCall): Promise<void> {
  const log = options.verbose ? createLog({ verbose: true }) : silentLog;
  const entry = await withProgress(
    terminal,
    (onProgress) => saveSnapshotOnce({ ...options, log, stop, onProgress }),
  );
  terminal.writeOutput(options.json ? jsonText(entryJson(entry)) : `${entryLine(entry)}\n`);
}

function entryLine({ object, nodeId, createdAtMs, databaseBytes, objectBytes }: SnapshotEntry): string {
  return `${object}: of node ${nodeId}, ${
    timeText(createdAtMs)
  }, ${databaseBytes} bytes, ${objectBytes} as stored`;
}

function entryJson({ nodeId, createdAtMs, headers: _headers, ...rest }: SnapshotEntry): unknown {
  return { ...rest, nodeId: String(nodeId), createdAt: timeText(createdAtMs) };
}
