/** `marmot resync`: the way out of a stream that stopped, and of a table that is parked for good. */

import { InvalidValueError, type Option, switchOption } from "../../config/option.ts";
import { MAX_SHARDS, OPTIONS } from "../../config/options.ts";
import { withOperatorAccess } from "../../db/operator/operator_access.ts";
import { requestMerge, requestResync, shardOf } from "../../db/operator/resync.ts";
import { readStreams, type StreamOnRecord } from "../../db/operator/stream_list.ts";
import { readMergeWish } from "../../db/state/merge_wish.ts";
import { isResyncWanted, readResync, type ResyncFrom } from "../../db/state/resync_request.ts";
import { MarmotError } from "../../errors.ts";
import { type Call, defineCommand } from "../command.ts";
import { findNewest, type NewestSnapshot } from "../resync_snapshot.ts";
import {
  moveLine,
  NEWER_STAYS,
  RESYNC_SOURCES,
  type ResyncSource,
  streamLine,
  WAYS,
  waysText,
} from "../resync_text.ts";
import { joinLines, jsonText } from "../text.ts";
import { waitForNode } from "../waiting.ts";

const fromOption: Option<ResyncSource | undefined> = {
  flag: "from",
  valueName: "where",
  defaultValue: undefined,
  defaultText: "none",
  text: `Where to go on: snapshot, first or now. ${waysText().replaceAll("\n", " ")} ${NEWER_STAYS}`,
  isSecret: false,
  parse(value) {
    const source = RESYNC_SOURCES.find((word) => word === value);
    if (source === undefined) throw new InvalidValueError("it must be snapshot, first or now");
    return source;
  },
};

const streamOption: Option<readonly string[] | undefined> = {
  flag: "stream",
  valueName: "streams",
  defaultValue: undefined,
  defaultText: "all",
  text: "Which streams, separated by commas: their names, or the numbers at the end of these.",
  isSecret: false,
  parse(value) {
    const words = value.split(",").map((word) => word.trim());
    for (const word of words) {
      if (word === "") throw new InvalidValueError("a stream's name or number is missing");
      if (isNumber(word) && (Number(word) < 1 || Number(word) > MAX_SHARDS)) {
        throw new InvalidValueError(`streams have numbers from 1 to ${MAX_SHARDS}`);
      }
    }
    return words;
  },
};

const RESYNC_OPTIONS = {
  from: fromOption,
  stream: streamOption,
  natsUrls: OPTIONS.natsUrls,
  streamPrefix: OPTIONS.streamPrefix,
  snapshotUrl: OPTIONS.snapshotUrl,
  yes: switchOption({ flag: "yes", defaultValue: false, text: "Do it without asking." }),
};

type ResyncCall = Call<typeof RESYNC_OPTIONS>;

/** What is put on record. */
type Request =
  | { readonly from: "snapshot"; readonly newest: NewestSnapshot }
  | { readonly from: ResyncFrom };

export const resyncCommand = defineCommand({
  name: "resync",
  text: "Has the node go on elsewhere in its streams, where one stopped or a table is parked for good.",
  options: RESYNC_OPTIONS,
  forms: [{
    words: "",
    text:
      "Goes on -from snapshot (the newest), -from first (the first message that is left) or -from now (the streams' end). Says what " +
      "that gives up, and asks. A running node does it now, any other when it is started.",
    run: resync,
  }],
});

async function resync(call: ResyncCall): Promise<void> {
  const { options: { from, dbPath, json, ...options }, terminal, stop } = call;
  if (from === undefined) {
    throw new MarmotError("usage", "Cannot resync: -from is missing", { hint: waysText() });
  }
  const onRecord = withOperatorAccess(dbPath, readStreams);
  const shards = options.stream?.map((word) => shardNumber(word, onRecord));
  const request: Request = from === "snapshot"
    ? { from, newest: await findNewest({ ...options, shards, onRecord, stop }) }
    : { from };
  const isMeant = ({ name }: StreamOnRecord) => shards === undefined || shards.includes(shardOf(name));
  if (!json) {
    const more = request.from === "snapshot" ? request.newest.lines : [];
    const lines = [...onRecord.filter(isMeant).map(streamLine), ...more, WAYS[from]];
    terminal.writeOutput(joinLines(from === "now" ? lines : [...lines, NEWER_STAYS]));
  }
  if (!isConfirmed(call)) {
    return terminal.writeOutput(json ? jsonText({ isOnRecord: false }) : "Nothing was done.\n");
  }
  withOperatorAccess(dbPath, (connection) => {
    if (request.from !== "snapshot") return requestResync(connection, { from: request.from, shards });
    const { streams } = request.newest;
    requestMerge(connection, { streams, isAll: shards === undefined });
  });
  await tell(call, request);
}

/** Waits for a node, and says what it has done. */
async function tell(
  { options: { dbPath, json }, terminal, stop }: ResyncCall,
  request: Request,
): Promise<void> {
  const isTaken = await waitForNode(
    () =>
      withOperatorAccess(
        dbPath,
        (connection) =>
          request.from === "snapshot"
            ? readMergeWish(connection).length === 0
            : !isResyncWanted(readResync(connection)),
      ),
    stop,
  );
  const { moves, refused } = withOperatorAccess(dbPath, readResync);
  if (refused.length > 0) {
    throw new MarmotError(
      "database",
      `Cannot resync stream ${refused.join(", ")}: the node has fewer streams`,
    );
  }
  if (json) {
    const what = request.from === "snapshot"
      ? { snapshot: request.newest.object, streams: request.newest.streams }
      : { moves };
    return terminal.writeOutput(jsonText({ isOnRecord: true, isDone: isTaken, from: request.from, ...what }));
  }
  const lines = request.from === "snapshot" ? [] : moves.map(moveLine);
  if (isTaken) return terminal.writeOutput(joinLines([...lines, "Done."]));
  terminal.writeOutput(joinLines([
    ...lines,
    request.from === "snapshot"
      ? "On record: a node that runs on this database takes the snapshot over now, and tells in its log; any other at its start."
      : "On record: no node has done it yet. One that runs on this database does it as soon as it reaches NATS.",
  ]));
}

function isConfirmed({ options, terminal }: ResyncCall): boolean {
  const answer = options.yes || terminal.confirm(`Resync from ${options.from}?`);
  if (answer !== null) return answer;
  throw new MarmotError("database", `Cannot resync "${options.dbPath}": nobody is here to be asked`, {
    hint: "-yes does it without asking.",
  });
}

/** The shard that a word means. Throws MarmotError for a stream that was never read here. */
function shardNumber(word: string, onRecord: readonly StreamOnRecord[]): number {
  if (isNumber(word)) return Number(word);
  if (onRecord.some(({ name }) => name === word)) return shardOf(word);
  throw new MarmotError("usage", `Cannot resync stream ${JSON.stringify(word)}: it was never read here`, {
    hint: onRecord.length === 0
      ? "Give its number."
      : `Streams that were: ${onRecord.map(({ name }) => name).join(", ")}. Give the number of any other.`,
  });
}

function isNumber(word: string): boolean {
  return /^-?\d+$/.test(word);
}
