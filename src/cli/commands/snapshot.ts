/** `marmot snapshot`: what a store holds, and saving into it and taking from it by hand. */

import { InvalidValueError, numberOption, type Option } from "../../config/option.ts";
import { MAX_LOG_REPLICAS, OPTIONS } from "../../config/options.ts";
import { MarmotError } from "../../errors.ts";
import { type Candidate, listCandidates } from "../../node/snapshot/candidates.ts";
import { restoreTo, verifyCandidate } from "../../node/snapshot/restore_file.ts";
import { saveSnapshotOnce } from "../../node/snapshot/save_once.ts";
import { schemaHashOf } from "../../node/snapshot/snapshot_headers.ts";
import { withStore } from "../../node/snapshot/store_access.ts";
import { createLog } from "../../observability/console_log.ts";
import { silentLog } from "../../observability/log.ts";
import type { SnapshotEntry } from "../../snapshot/manifest.ts";
import { type Call, defineCommand } from "../command.ts";
import { EXIT_DONE, EXIT_FAILED } from "../failure.ts";
import { withProgress } from "../progress_line.ts";
import { joinLines, jsonText } from "../text.ts";
import { plainText, timeText } from "../value_text.ts";

const toOption: Option<string | undefined> = {
  flag: "to",
  valueName: "path",
  defaultValue: undefined,
  defaultText: "none",
  text: "The file that restore makes; it must not exist.",
  isSecret: false,
  parse(value) {
    if (value === "" || value.includes("\0")) throw new InvalidValueError("it must name a file");
    return value;
  },
};

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
  to: toOption,
};

/** Enough to tell the schemas of one application apart. */
const SHOWN_OF_HASH = 8;

type SnapshotCall = Call<typeof SNAPSHOT_OPTIONS>;

export const snapshotCommand = defineCommand({
  name: "snapshot",
  text: "Saves, shows and restores snapshots, from which new nodes get their database.",
  options: SNAPSHOT_OPTIONS,
  forms: [
    { words: "list", text: "Lists the snapshots of the store, the newest first.", run: list },
    {
      words: "save",
      text: "Saves a snapshot of the database, beside a running node or without one.",
      run: save,
    },
    {
      words: "verify",
      text:
        "Fetches every snapshot and checks all of it. Exit codes: 0 all are sound, 1 one is not, or there is none.",
      run: verify,
    },
    {
      words: "restore",
      text:
        "Makes the newest sound snapshot a database file, -to path, with nothing of Marmot's in it: a backup to look at.",
      run: restore,
    },
  ],
});

async function save({ options, terminal, stop }: SnapshotCall): Promise<void> {
  const log = options.verbose ? createLog({ verbose: true }) : silentLog;
  const entry = await withProgress(
    terminal,
    ({ show, beside }) => saveSnapshotOnce({ ...options, log: beside(log), stop, onProgress: show }),
  );
  terminal.writeOutput(options.json ? jsonText(entryJson(entry)) : `${entryLine(entry)}\n`);
}

async function list({ options, terminal, stop }: SnapshotCall): Promise<void> {
  await withStore({ ...options, stop }, async (store) => {
    const candidates = await listCandidates(store, stop);
    if (options.json) return terminal.writeOutput(jsonText(candidates.map(candidateJson)));
    const lines = candidates.map(candidateLine);
    terminal.writeOutput(
      joinLines(lines.length === 0 ? [`There is no snapshot in ${store.location}.`] : lines),
    );
  });
}

async function verify({ options, terminal, stop }: SnapshotCall): Promise<number> {
  return await withStore({ ...options, stop }, async (store) => {
    const candidates = await listCandidates(store, stop);
    if (candidates.length === 0) throw noSnapshot("verify", store.location);
    const findings: { candidate: Candidate; damage: string | undefined }[] = [];
    for (const candidate of candidates) {
      const damage = await withProgress(
        terminal,
        ({ show }) =>
          verifyCandidate(store, candidate, {
            signal: stop,
            onBytes: (done, of) => show("fetching", done, of),
          }),
      );
      findings.push({ candidate, damage });
    }
    terminal.writeOutput(
      options.json
        ? jsonText(
          findings.map(({ candidate, damage }) => ({ ...candidateJson(candidate), damage: damage ?? null })),
        )
        : joinLines(
          findings.map(({ candidate, damage }) =>
            `${plainText(candidate.name)}: ${damage === undefined ? "sound" : plainText(damage)}`
          ),
        ),
    );
    return findings.every(({ damage }) => damage === undefined) ? EXIT_DONE : EXIT_FAILED;
  });
}

async function restore({ options, terminal, stop }: SnapshotCall): Promise<void> {
  const { to } = options;
  if (to === undefined) {
    throw new MarmotError("usage", "Cannot restore a snapshot: it is not said to which file", {
      hint: "marmot snapshot restore -to backup.db",
    });
  }
  await withStore({ ...options, stop }, async (store) => {
    const candidates = await listCandidates(store, stop);
    if (candidates.length === 0) throw noSnapshot("restore", store.location);
    const { candidate, refused } = await withProgress(
      terminal,
      ({ show }) =>
        restoreTo(store, candidates, { to, signal: stop, onBytes: (done, of) => show("fetching", done, of) }),
    );
    for (const { name, reason } of refused) {
      terminal.writeError(`${plainText(name)} cannot be used: ${plainText(reason)}\n`);
    }
    terminal.writeOutput(
      options.json
        ? jsonText({ ...candidateJson(candidate), to })
        : `${candidateLine(candidate)}\nrestored to ${to}\n`,
    );
  });
}

function noSnapshot(verb: string, location: string): MarmotError {
  return new MarmotError("snapshot", `Cannot ${verb} a snapshot: there is none in ${location}`, {
    hint: "marmot snapshot save saves one; check -snapshot-url and -stream-prefix.",
  });
}

function candidateLine(candidate: Candidate): string {
  if (candidate.kind === "own") return entryLine(candidate.entry);
  const { name, modifiedAt, sizeBytes } = candidate.info;
  return `${name}: of the original Marmot, ${modifiedAt.toISOString()}, ${sizeBytes} bytes`;
}

function candidateJson(candidate: Candidate): Readonly<Record<string, unknown>> {
  if (candidate.kind === "own") return entryJson(candidate.entry);
  const { name: object, modifiedAt, sizeBytes: objectBytes } = candidate.info;
  return { object, objectBytes, createdAt: modifiedAt.toISOString() };
}

function entryLine(entry: SnapshotEntry): string {
  const { object, nodeId, createdAtMs, databaseBytes, objectBytes, headers } = entry;
  const schema = schemaHashOf(headers)?.slice(0, SHOWN_OF_HASH) ?? "not told";
  const sizes = `${databaseBytes} bytes, ${objectBytes} as stored`;
  return `${object}: of node ${nodeId}, ${timeText(createdAtMs)}, ${sizes}, schema ${schema}`;
}

function entryJson(
  { nodeId, createdAtMs, headers, ...rest }: SnapshotEntry,
): Readonly<Record<string, unknown>> {
  const schemaSha256 = schemaHashOf(headers) ?? null;
  return { ...rest, nodeId: String(nodeId), createdAt: timeText(createdAtMs), schemaSha256 };
}
