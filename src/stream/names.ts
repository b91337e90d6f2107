/**
 * Names of streams and subjects. They are a compatibility constant: the original v0.6 uses the same streams and
 * shard subjects (the vectors in names_v06.json); table subjects are Marmot's own.
 */
import { MarmotError } from "../errors.ts";
import { tableSubjectToken } from "../wire/routing.ts";

/** What the names of all shards have in common. */
export interface StreamNaming {
  readonly streamPrefix: string;
  readonly subjectPrefix: string;
  /** Whether messages are compressed, which the original tells by the streams' names. */
  readonly compress: boolean;
}

/** `<stream-prefix>-<shard>`, with compression `<stream-prefix>-c-<shard>`. */
export function streamName(naming: StreamNaming, shard: number): string {
  return `${naming.streamPrefix}-${naming.compress ? "c-" : ""}${shard}`;
}

/** The shard that a stream of this naming carries, undefined for any other stream. */
export function shardOfStream(naming: StreamNaming, name: string): number | undefined {
  const prefix = streamName(naming, 0).slice(0, -1);
  const rest = name.startsWith(prefix) ? name.slice(prefix.length) : "";
  return /^[1-9]\d*$/.test(rest) ? Number(rest) : undefined;
}

/** The subject of the original's messages; plain and compressed streams share it. */
export function shardSubject(naming: StreamNaming, shard: number): string {
  return `${naming.subjectPrefix}-${shard}`;
}

/** The subject of one table's messages. */
export function tableSubject(naming: StreamNaming, shard: number, table: string): string {
  return `${shardSubject(naming, shard)}.${tableSubjectToken(table)}`;
}

/** Matches the subjects of all tables of a shard. */
export function tableSubjects(naming: StreamNaming, shard: number): string {
  return `${shardSubject(naming, shard)}.*`;
}

/** Whether every subject that `subject` matches is matched by `pattern` too (NATS wildcards `*` and `>`). */
export function isCovered(subject: string, pattern: string): boolean {
  const tokens = subject.split(".");
  const patternTokens = pattern.split(".");
  for (const [index, token] of patternTokens.entries()) {
    if (token === ">") return tokens.length > index;
    if (tokens[index] !== token && (token !== "*" || tokens[index] === undefined || tokens[index] === ">")) {
      return false;
    }
  }
  return tokens.length === patternTokens.length;
}

/** Throws MarmotError where a prefix cannot be part of a stream name or a subject. */
export function assertNaming({ streamPrefix, subjectPrefix }: StreamNaming): void {
  // Source: NATS documentation, "Stream configuration", name; "Subject-based messaging", characters allowed.
  // deno-lint-ignore no-control-regex
  const isStreamPrefix = /^[^\s.*>/\\\u0000-\u001f\u007f]+$/.test(streamPrefix);
  if (!isStreamPrefix) {
    throw new MarmotError("usage", `Cannot use stream prefix ${JSON.stringify(streamPrefix)}`, {
      hint: "stream-prefix must not be empty or contain spaces, dots, stars, > or slashes",
    });
  }
  // deno-lint-ignore no-control-regex
  const isSubjectPrefix = /^[^\s.*>\u0000-\u001f\u007f]+(\.[^\s.*>\u0000-\u001f\u007f]+)*$/.test(
    subjectPrefix,
  );
  if (!isSubjectPrefix || subjectPrefix.startsWith("$")) {
    throw new MarmotError("usage", `Cannot use subject prefix ${JSON.stringify(subjectPrefix)}`, {
      hint: "subject-prefix must be words joined by dots, without spaces, stars or >, and not begin with $",
    });
  }
}
