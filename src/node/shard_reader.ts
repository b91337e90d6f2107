/**
 * Reads one shard's stream into the apply loop, from the cursor on, and begins again whenever messages may have been
 * missed. In a stream that has lost its end the node goes back (lost_end.ts); one whose messages are gone before this node
 * has read them is stopped and said, and the node stays up.
 */
import type { Replica } from "../db/replica.ts";
import { errorText } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { backoffDelayMs } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeStreams, StreamState } from "../stream/change_streams.ts";
import type { ApplyLoop } from "./apply_loop.ts";
import { checkContinuity } from "./continuity.ts";
import { goBack } from "./lost_end.ts";
import { endFirst, moveAsWanted } from "./stream_resync.ts";

const BACKOFF = { firstMs: 50, maxMs: 5000 };
/** How often a stopped stream is looked at again. */
const STOPPED_PAUSE_MS = 5000;

const TRIMMED =
  "stream stopped: messages that this node has not read are gone, its tables of this stream are out of date";
const WAYS_OUT = "marmot resync -help tells the ways out";

export interface ShardReaderParts {
  readonly replica: Replica;
  readonly streams: ChangeStreams;
  readonly applyLoop: ApplyLoop;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  /** Called whenever reading begins: what was sent before may be lost, also what was acknowledged. */
  readonly onBegin: (shard: number) => void;
  /** Called when events that waited for their table's schema were dropped: what waited for them may go on. */
  readonly onParkedDropped: () => void;
}

export class ShardReader {
  readonly #parts: ShardReaderParts;
  readonly #shard: number;
  /** Name of the stream, once the broker has told it. */
  #stream: string | undefined;
  #isTrimmed = false;
  /** Ends one reading, and the pause behind it. */
  #turn = new AbortController();

  constructor(shard: number, parts: ShardReaderParts) {
    this.#shard = shard;
    this.#parts = parts;
  }

  /** Last sequence that was applied; undefined as long as messages are missing behind it, or it is not known. */
  get cursor(): number | undefined {
    const isGoingOn = this.#stream !== undefined && !this.#isTrimmed;
    return isGoingOn ? this.#parts.replica.positions.get(this.#stream ?? "").cursor : undefined;
  }

  /** Name of the stream, undefined before the broker has told it. */
  get stream(): string | undefined {
    return this.#stream;
  }

  /** Begins again: where to read from is on record, and what was read and not applied is dropped. */
  restart(): void {
    this.#parts.applyLoop.drop(this.#shard);
    this.#turn.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#parts;
    let failures = 0;
    while (!signal.aborted) {
      const beganMs = clock.nowMs();
      this.#turn = new AbortController();
      const turn = AbortSignal.any([signal, this.#turn.signal]);
      try {
        if (!await this.#readOn(turn)) await clock.sleep(STOPPED_PAUSE_MS, turn);
      } catch (error) {
        // Reading ends with an error whenever the connection breaks: what had worked for a while is not failing in a row.
        failures = clock.nowMs() - beganMs > BACKOFF.maxMs ? 1 : failures + 1;
        log.debug("reading interrupted", { shard: this.#shard, reason: errorText(error) });
        await clock.sleep(backoffDelayMs(failures, { ...BACKOFF, random }), signal);
      }
    }
  }

  /** Reads until the broker fails, which throws. False if messages that were not read are gone. */
  async #readOn(signal: AbortSignal): Promise<boolean> {
    const { streams, applyLoop, replica, onBegin } = this.#parts;
    const positionOf = ({ name }: StreamState) => replica.positions.get(name);
    let { continuity, state } = await checkContinuity(streams, this.#shard, positionOf);
    if (continuity === "made-anew" || continuity === "rolled-back") {
      applyLoop.drop(this.#shard);
      await goBack(this.#shard, { ...this.#parts, signal });
      ({ continuity, state } = await checkContinuity(streams, this.#shard, positionOf));
    }
    const isMoved = await this.#moveAsWanted(state, signal);
    if (isMoved) ({ continuity, state } = await checkContinuity(streams, this.#shard, positionOf));
    this.#stream = state.name;
    if (continuity === "made-anew" || continuity === "rolled-back") {
      throw new Error("the stream changes again");
    }
    if (continuity === "trimmed" && replica.resyncFrom(this.#shard) !== null) {
      throw new Error("the stream's first message was trimmed meanwhile");
    }
    this.#say(continuity === "trimmed", state);
    if (continuity === "trimmed") return false;
    applyLoop.begin(this.#shard, { stream: state.name, createdAt: state.createdAt });
    onBegin(this.#shard);
    let isFirstWanted = isMoved;
    for await (const message of streams.read(this.#shard, positionOf(state).cursor + 1, signal)) {
      if (isFirstWanted) await endFirst(this.#shard, { ...this.#parts, signal });
      isFirstWanted = false;
      const room = applyLoop.enqueue(message);
      if (room) await room;
    }
    return true;
  }

  /** Goes where the operator wants to go on, and returns whether there was such a wish. */
  async #moveAsWanted(state: StreamState, signal: AbortSignal): Promise<boolean> {
    const { replica, applyLoop, onParkedDropped } = this.#parts;
    if (replica.resyncFrom(this.#shard) === null) return false;
    applyLoop.drop(this.#shard);
    const dropped = await moveAsWanted(this.#shard, { ...this.#parts, state, signal });
    if (dropped !== undefined && dropped > 0) onParkedDropped();
    return dropped !== undefined;
  }

  #say(isTrimmed: boolean, state: StreamState): void {
    if (isTrimmed === this.#isTrimmed) return;
    this.#isTrimmed = isTrimmed;
    const fields = {
      stream: state.name,
      cursor: this.#parts.replica.positions.get(state.name).cursor,
      first: state.firstSequence,
      last: state.lastSequence,
    };
    if (isTrimmed) this.#parts.log.error(TRIMMED, { ...fields, hint: WAYS_OUT });
    else this.#parts.log.info("stream goes on", fields);
  }
}
