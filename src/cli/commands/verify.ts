/** `marmot verify`: whether copies of the database are equal, and which rows are not. */

import { numberOption, type Option } from "../../config/option.ts";
import { InvalidValueError } from "../../config/option.ts";
import { OPTIONS } from "../../config/options.ts";
import { compareSources, type VerifyReport } from "../../node/verify/comparison.ts";
import { FileSource } from "../../node/verify/file_source.ts";
import { verifyNodes } from "../../node/verify/live_verify.ts";
import { errorText, MarmotError } from "../../errors.ts";
import { defineCommand } from "../command.ts";
import { exitCodeOf, reportJson, reportText, verdictOf } from "../verify_report.ts";

const againstOption: Option<string | undefined> = {
  flag: "against",
  valueName: "path",
  defaultValue: undefined,
  defaultText: "the running nodes",
  text: "Another database file to compare that of -db-path with.",
  isSecret: false,
  parse(value) {
    if (value === "" || value.includes("\0")) throw new InvalidValueError("it must name a file");
    return value;
  },
};

export const verifyCommand = defineCommand({
  name: "verify",
  text:
    "Compares copies of the database and names what differs. Exit codes: 0 equal, 3 different, 1 unknown.",
  options: {
    against: againstOption,
    natsUrls: OPTIONS.natsUrls,
    streamPrefix: OPTIONS.streamPrefix,
    limit: numberOption({
      flag: "limit",
      defaultValue: 20,
      minimum: 1,
      maximum: 1_000_000,
      text: "How many rows of each table to name.",
    }),
  },
  forms: [
    {
      words: "",
      text: "Compares the running nodes at one point of their streams, or the database with another file.",
      async run({ options, given, terminal, stop }) {
        const { limit, json, dbPath, against, natsUrls, streamPrefix } = options;
        if (against === undefined && given.has("dbPath")) throw fileAloneError();
        const report = await orStopped(
          stop,
          against === undefined
            ? verifyNodes({ natsUrls, streamPrefix, limit, stop })
            : compareFiles([dbPath, against], { limit, stop }),
        );
        terminal.writeOutput(json ? reportJson(report) : reportText(report));
        return exitCodeOf(verdictOf(report));
      },
    },
  ],
});

/** Who names a file wants to know about that file, and the running nodes may be others. */
function fileAloneError(): MarmotError {
  return new MarmotError(
    "usage",
    "Cannot use -db-path without -against: a file is compared with another file, running nodes are asked over NATS",
    { hint: "Name the other file with -against, or leave -db-path out to compare the running nodes." },
  );
}

/** What a signal stops has compared nothing: its exit code must not be the one that says equal. */
async function orStopped<T>(stop: AbortSignal, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!stop.aborted || error !== stop.reason) throw error;
    throw new MarmotError("database", `Cannot say whether all is equal: ${errorText(stop.reason)}`);
  }
}

async function compareFiles(
  paths: readonly string[],
  { limit, stop }: { limit: number; stop: AbortSignal },
): Promise<VerifyReport> {
  const sources: FileSource[] = [];
  try {
    for (const path of paths) sources.push(new FileSource(path, stop));
    return await compareSources(sources, { limit });
  } finally {
    for (const source of sources) await source.close();
  }
}
