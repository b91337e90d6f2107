/**
 * THE option table: flags, defaults, help text, validation, the Config type and the README's table all come
 * from here. The keys are the names of Config's fields; the order is the order in help.
 */

import { parseSnapshotUrl } from "../snapshot/snapshot_url.ts";
import { parseNatsUrls, parseStreamPrefix, parseSubjectPrefix } from "./nats_names.ts";
import {
  choiceOption,
  identityOption,
  InvalidValueError,
  numberOption,
  type Option,
  switchOption,
  textOption,
} from "./option.ts";

/** Each shard is a stream with a consumer on every node, so a count beyond this is a slip. */
export const MAX_SHARDS = 1024;

/** JetStream's limit on the replicas of a stream. */
export const MAX_LOG_REPLICAS = 5;

export const OPTIONS = {
  dbPath: textOption({
    flag: "db-path",
    valueName: "path",
    defaultText: "/tmp/marmot.db",
    text: "The SQLite database to replicate.",
    parse: parseDatabasePath,
  }),
  nodeId: identityOption({
    flag: "node-id",
    defaultText: "random",
    text: "This node's id, an unsigned 64-bit number that no other node has. " +
      "A random one is chosen once and kept in the database.",
  }),
  natsUrls: textOption({
    flag: "nats-url",
    valueName: "urls",
    defaultText: "nats://127.0.0.1:4222",
    text:
      "The NATS servers, separated by commas. Credentials go into the URL: nats://user:password@host:4222.",
    isSecret: true,
    parse: parseNatsUrls,
  }),
  shards: numberOption({
    flag: "shards",
    defaultValue: 8,
    minimum: 1,
    maximum: MAX_SHARDS,
    text: "The number of streams that the tables are spread over, the same on every node.",
  }),
  maxLogEntries: numberOption({
    flag: "max-log-entries",
    defaultValue: 1024,
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    text: "How many messages a stream keeps. Streams that exist keep their setting.",
  }),
  keepMinutes: numberOption({
    flag: "keep-minutes",
    defaultValue: 10,
    minimum: 0,
    maximum: 10_080,
    text: "For how many minutes this node remembers which rows it has published, to publish them again " +
      "should the broker lose them.",
  }),
  keepEntries: numberOption({
    flag: "keep-entries",
    defaultValue: 10_000,
    minimum: 0,
    maximum: 1_000_000,
    text: "How many rows that it has published this node remembers in any case, however old they are.",
  }),
  maxImageDeletes: numberOption({
    flag: "max-image-deletes",
    defaultValue: 50,
    minimum: 0,
    maximum: 100,
    text:
      "How many percent of a table's rows this node deletes without asking, because they are gone on a node that " +
      "changed the table without capture.",
  }),
  logReplicas: numberOption({
    flag: "log-replicas",
    defaultValue: 1,
    minimum: -1000,
    maximum: 1000,
    text: "How many NATS servers keep each stream, at most 5; below 1 means half of the shards plus 1. " +
      "Streams that exist keep their setting.",
  }),
  streamPrefix: textOption({
    flag: "stream-prefix",
    valueName: "name",
    defaultText: "marmot-changes",
    text: "How the streams' names begin; the shard's number follows.",
    parse: parseStreamPrefix,
  }),
  subjectPrefix: textOption({
    flag: "subject-prefix",
    valueName: "name",
    defaultText: "marmot-change-log",
    text: "How the streams' subjects begin; the shard's number and the table's name follow.",
    parse: parseSubjectPrefix,
  }),
  wireFormat: choiceOption({
    flag: "wire-format",
    valueName: "format",
    choices: ["batch", "v0.6"],
    text:
      "How changes are written: batch, or v0.6 in a cluster that still holds nodes of the original Marmot. " +
      "Both are always read.",
  }),
  compress: switchOption({
    flag: "compress",
    defaultValue: false,
    text:
      "Compress all messages with Zstandard, as the original Marmot does, the same on every node. Large ones of the batch " +
      "format are compressed without it as well.",
  }),
  seqMapPath: textOption({
    flag: "seq-map-path",
    valueName: "path",
    defaultText: "/tmp/seq-map.cbor",
    text:
      "A copy of the cursors, as the original Marmot keeps them. It is read only when a node is upgraded.",
    parse: parsePath,
  }),
  enableSnapshot: switchOption({
    flag: "enable-snapshot",
    defaultValue: true,
    text: "Save snapshots when they are due, and begin with the newest one where there is no database.",
  }),
  saveSnapshot: switchOption({
    flag: "save-snapshot",
    defaultValue: false,
    text: "Save a snapshot of the database and end, beside a running node or without one.",
  }),
  snapshotUrl: textOption({
    flag: "snapshot-url",
    valueName: "url",
    defaultText: "nats://",
    text: "Where snapshots are kept: nats:// (the servers of nats-url), file:///folder, " +
      "s3://bucket/prefix?endpoint=…&region=…, sftp://user@host/folder or webdavs://host/folder. " +
      "Credentials go into the URL or the environment.",
    isSecret: true,
    parse: parseSnapshotUrl,
  }),
  cleanup: switchOption({
    flag: "cleanup",
    defaultValue: false,
    text: "Remove everything that Marmot put into the database and end.",
  }),
  verbose: switchOption({
    flag: "verbose",
    defaultValue: false,
    text: "Log at debug level as well.",
  }),
  version: switchOption({
    flag: "version",
    defaultValue: false,
    text: "Print the version of Marmot and of its parts, and end.",
  }),
  help: switchOption({
    flag: "help",
    defaultValue: false,
    text: "Print this help, and end.",
  }),
};

type OptionName = keyof typeof OPTIONS;

/** The value of every option, whether given or not. */
export type OptionValues = {
  readonly [Name in OptionName]: (typeof OPTIONS)[Name] extends Option<infer T> ? T : never;
};

function parsePath(value: string): string {
  if (value === "") throw new InvalidValueError("it must not be empty");
  if (value.includes("\0")) throw new InvalidValueError("a path can't hold a NUL character");
  return value;
}

function parseDatabasePath(value: string): string {
  if (value === ":memory:") {
    throw new InvalidValueError("a database in memory is seen by one process only", "Name a database file.");
  }
  return parsePath(value);
}
