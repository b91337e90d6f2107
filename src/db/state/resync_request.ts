/**
 * Where an operator wants this node to go on in the streams: put on record by `marmot resync`, carried out by the node, per
 * shard, at its start or while it runs. What was done stays on record until the next command, which tells it.
 */
import type { Connection } from "../connection.ts";
import { readMeta, writeMeta } from "./meta.ts";

/** "first": from the first message that is left. "now": from the stream's end. */
export type ResyncFrom = "first" | "now";

/** What became of one stream. */
export interface StreamMove {
  readonly stream: string;
  readonly from: ResyncFrom;
  /** The cursor before, and behind which message the node reads on. */
  readonly before: number;
  readonly cursor: number;
  /** Events that waited for their table's schema and were dropped. */
  readonly dropped: number;
}

/** What is on record. Its JSON is a compatibility constant. */
export interface ResyncRecord {
  /** What is wanted of every shard that is not named; null: nothing. */
  readonly all: ResyncFrom | null;
  /** What is wanted of a shard, by its number; null: nothing, whatever is wanted of all. */
  readonly shards: Readonly<Record<string, ResyncFrom | null>>;
  readonly moves: readonly StreamMove[];
  /** Shards that were named and that the node does not have. */
  readonly refused: readonly number[];
}

export const NO_RESYNC: ResyncRecord = { all: null, shards: {}, moves: [], refused: [] };

export function readResync(connection: Connection): ResyncRecord {
  const text = readMeta(connection, "resync");
  return typeof text === "string" ? JSON.parse(text) : NO_RESYNC;
}

/** Whether the node has something to do. */
export function isResyncWanted({ all, shards }: ResyncRecord): boolean {
  return all !== null || Object.values(shards).some((from) => from !== null);
}

/**
 * Puts on record what is wanted of each shard that the node has, and returns these and those that it does not have. Call in
 * a write transaction.
 */
export function takeUpResync(
  connection: Connection,
  shardCount: number,
): { shards: number[]; refused: number[] } {
  const record = readResync(connection);
  const known = Array.from({ length: shardCount }, (_, i) => i + 1);
  const wanted = known.flatMap((shard) => {
    const from = wantedOf(record, shard);
    return from === null ? [] : [[shard, from] as const];
  });
  const refused = Object.keys(record.shards).map(Number)
    .filter((shard) => shard > shardCount && record.shards[shard] !== null);
  const { moves } = record;
  writeResync(connection, {
    all: null,
    shards: Object.fromEntries(wanted),
    moves,
    refused: [...record.refused, ...refused],
  });
  return { shards: wanted.map(([shard]) => shard), refused };
}

/** What is wanted of a shard; null: nothing. */
export function wantedOf({ all, shards }: ResyncRecord, shard: number): ResyncFrom | null {
  const own = shards[shard];
  return own === undefined ? all : own;
}

/** Puts a move on record; `isDone` ends what was wanted of the shard. Call in the write transaction of the move. */
export function recordMove(connection: Connection, shard: number, { move, isDone }: {
  move: StreamMove;
  isDone: boolean;
}): void {
  const record = readResync(connection);
  // Begun again, because the first message was trimmed meanwhile: it is one move.
  const earlier = record.moves.find(({ stream }) => stream === move.stream);
  const whole = earlier ? { ...move, before: earlier.before, dropped: earlier.dropped + move.dropped } : move;
  const moves = [...record.moves.filter((other) => other !== earlier), whole];
  writeResync(connection, { ...(isDone ? without(record, shard) : record), moves });
}

/** Ends the wish that a shard is read from its first message; what was wanted since stays. Call in a write transaction. */
export function endFirst(connection: Connection, shard: number): void {
  const record = readResync(connection);
  if (wantedOf(record, shard) === "first") writeResync(connection, without(record, shard));
}

function without(record: ResyncRecord, shard: number): ResyncRecord {
  if (record.all !== null) return { ...record, shards: { ...record.shards, [shard]: null } };
  const shards = Object.entries(record.shards).filter(([number]) => Number(number) !== shard);
  return { ...record, shards: Object.fromEntries(shards) };
}

/** Call in a write transaction. */
export function writeResync(connection: Connection, record: ResyncRecord): void {
  writeMeta(connection, "resync", JSON.stringify(record));
}
