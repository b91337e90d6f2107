/**
 * What to do with a stream that has lost its end, or everything: it was rolled back (the broker's disk was), or made
 * anew. The node goes back to where the stream agrees with what it has read, reads on from there, and publishes again
 * what it had published behind it itself. Messages that it has read before are known by their numbers and ignored.
 */
import type { Echo } from "../db/capture/retained_entries.ts";
import type { Replica } from "../db/replica.ts";
import type { Log } from "../observability/log.ts";
import type { ChangeStreams, StreamState } from "../stream/change_streams.ts";
import { whileBusy, type WhileBusyParts } from "./while_busy.ts";

/** Where a message stands, and when the server stored it. */
type Place = Pick<Echo, "sequence" | "storedAt">;

/** Before the first message. */
const NOTHING: Place = { sequence: 0, storedAt: "" };

export interface LostEndParts extends WhileBusyParts {
  readonly replica: Replica;
  readonly streams: ChangeStreams;
  readonly log: Log;
}

/** Goes back in a shard's stream. Throws when the broker does not answer. */
export async function goBack(shard: number, parts: LostEndParts): Promise<void> {
  const { replica, streams, log } = parts;
  const state = await streams.describe(shard);
  const before = replica.positions.get(state.name);
  const isMadeAnew = before.createdAt !== state.createdAt;
  const agreed = isMadeAnew ? NOTHING : await findAgreed(replica.recovery.retainedEchoes(state.name), {
    isThere: async ({ sequence, storedAt }) =>
      sequence <= state.lastSequence && (await streams.messageAt(shard, sequence))?.storedAt === storedAt,
  });
  const { sequence: cursor, storedAt } = await findCursor(shard, { ...parts, state, agreed });
  const position = { name: state.name, createdAt: state.createdAt, cursor, storedAt };
  const rows = await whileBusy(() => replica.recovery.goBack(position, agreed.sequence), parts);
  if (rows === undefined) return;
  log.error(
    isMadeAnew
      ? "the broker has lost a stream: it was made anew, this node's own changes go again"
      : "the broker has lost the end of a stream: it was rolled back, this node's own changes behind it go again",
    { stream: state.name, hadRead: before.cursor, readsFrom: cursor + 1, rows },
  );
}

/** The last echo that still stands where it was read. A stream only loses its end. */
async function findAgreed(
  echoes: readonly Echo[],
  { isThere }: { isThere: (echo: Echo) => Promise<boolean> },
): Promise<Place> {
  let [there, gone] = [-1, echoes.length];
  while (gone - there > 1) {
    const middle = (there + gone) >> 1;
    const echo = echoes[middle];
    if (echo && await isThere(echo)) there = middle;
    else gone = middle;
  }
  return echoes[there] ?? NOTHING;
}

/**
 * The message to go back to. What was trimmed behind `agreed` was read here before if the first message that is left was;
 * else messages may be missing, and the cursor shows it. Its identity is the one that was seen: the stream may lose more
 * of its end in this very moment, and the next check must notice.
 */
async function findCursor(
  shard: number,
  { replica, streams, state, agreed }: LostEndParts & { state: StreamState; agreed: Place },
): Promise<Place> {
  const { name, firstSequence, lastSequence } = state;
  if (firstSequence <= agreed.sequence + 1 || firstSequence > lastSequence) return agreed;
  const first = await streams.messageAt(shard, firstSequence);
  return first && replica.recovery.hasRead(name, first) ? first : agreed;
}
