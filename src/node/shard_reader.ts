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
import { checkContinuity, type Continuity } from "./continuity.ts";
import { goBack } from "./lost_end.ts";
import { endFirst, moveAsWanted } from "./stream_resync.ts";
import { whileBusy } from "./while_busy.ts";

const BACKOFF = { firstMs: 50, maxMs: 5000 };
/** How often a stopped stream is looked at again. */
const STOPPED_PAUSE_MS = 5000;

const TRIMMED =
  "stream stopped: messages that this node has not read are gone, its tables of this stream are out of date";
const SWITCHED_OFF = "snapshots are switched off";
const VAIN_WISH = "no snapshot can be taken over as was asked for, the stream goes on";
const WAYS_OUT = "marmot resync -help tells the ways out";

/** Brings the tables of a stream up to date whose messages are gone. */
export interface LateStreams {
  /**
   * Takes a snapshot of the stream over, or returns why none can be taken now. The node reads on from where the
   * snapshot ends.
   */
  catchUp(shard: number, state: StreamState, signal: AbortSignal): Promise<string | undefined>;
}

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
  /** What a late stream is brought up to date with; it stays stopped without. */
  readonly late?: LateStreams | undefined;
}

export class ShardReader {
  readonly #parts: ShardReaderParts;
  readonly #shard: number;
  /** Name of the stream, once the broker has told it. */
  #stream: string | undefined;
  /** Whether the stream is known to go on behind the cursor: not before reading stands, nor where messages are missing. */
  #isGoingOn = false;
  /** Why the stream is stopped, as it was said last; undefined while it is not. */
  #saidReason: string | undefined;
  /** Ends one reading, and the pause behind it. */
  #turn = new AbortController();

  constructor(shard: number, parts: ShardReaderParts) {
    this.#shard = shard;
    this.#parts = parts;
  }

  /** Last sequence that was applied; undefined as long as it is not known that the stream goes on behind it. */
  get cursor(): number | undefined {
    return this.#isGoingOn ? this.#parts.replica.positions.get(this.#stream ?? "").cursor : undefined;
  }

  /** Name of the stream, undefined before the broker has told it. */
  get stream(): string | undefined {
    return this.#stream;
  }

  /** Begins anew: what the operator wants of the stream is on record, and what was read and not applied is dropped. */
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
    const { streams, applyLoop, replica, log } = this.#parts;
    this.#isGoingOn = false;
    let { continuity, state } = await this.#check();
    if (continuity === "made-anew" || continuity === "rolled-back") {
      applyLoop.drop(this.#shard);
      await goBack(this.#shard, { ...this.#parts, signal });
      ({ continuity, state } = await this.#check());
    }
    const isMoved = await this.#moveAsWanted(state, signal);
    if (isMoved) ({ continuity, state } = await this.#check());
    this.#stream = state.name;
    if (continuity === "made-anew" || continuity === "rolled-back") {
      throw new Error("the stream changes again");
    }
    if (continuity === "trimmed" && replica.recovery.resyncFrom(this.#shard) !== null) {
      throw new Error("the stream's first message was trimmed meanwhile");
    }
    const isTrimmed = continuity === "trimmed";
    // Looked at once more afterwards: it may have taken long.
    if (isTrimmed || replica.recovery.isMergeWished(state.name)) {
      return await this.#catchUp(state, { isTrimmed, signal });
    }
    if (this.#saidReason !== undefined) log.info("stream goes on", this.#placeOf(state));
    this.#saidReason = undefined;
    // What still waits must not move the cursor behind which reading begins.
    applyLoop.drop(this.#shard);
    const next = replica.positions.get(state.name).cursor + 1;
    let isFirstWanted = isMoved;
    for await (const message of streams.read(this.#shard, next, signal, () => this.#begin(signal))) {
      if (isFirstWanted) await endFirst(this.#shard, { ...this.#parts, signal });
      isFirstWanted = false;
      const room = applyLoop.enqueue(message);
      if (room) await room;
    }
    return true;
  }

  /**
   * Begins on a reading that stands. The stream may have lost something since it was looked at, or while: that is seen
   * here, and what it loses from now on ends the reading.
   */
  async #begin(signal: AbortSignal): Promise<void> {
    const { continuity, state } = await this.#check();
    if (signal.aborted) return;
    if (continuity !== "continues") throw new Error("the stream changes again");
    this.#parts.applyLoop.begin(this.#shard, { stream: state.name, createdAt: state.createdAt });
    this.#isGoingOn = true;
    this.#parts.onBegin(this.#shard);
  }

  async #check(): Promise<{ continuity: Continuity; state: StreamState }> {
    const { streams, replica } = this.#parts;
    const look = () => checkContinuity(streams, this.#shard, ({ name }) => replica.positions.get(name));
    const found = await look();
    // Looked at twice: a stream that loses its end between the questions of one look seems to be trimmed.
    return found.continuity === "trimmed" ? await look() : found;
  }

  /** Goes where the operator wants to go on, and returns whether there was such a wish. */
  async #moveAsWanted(state: StreamState, signal: AbortSignal): Promise<boolean> {
    const { replica, applyLoop, onParkedDropped } = this.#parts;
    if (replica.recovery.resyncFrom(this.#shard) === null) return false;
    applyLoop.drop(this.#shard);
    const dropped = await moveAsWanted(this.#shard, { ...this.#parts, state, signal });
    if (dropped !== undefined && dropped > 0) onParkedDropped();
    return dropped !== undefined;
  }

  /** Whether the stream goes on: a snapshot was taken over, or there is none and none is needed. */
  async #catchUp(
    state: StreamState,
    { isTrimmed, signal }: { isTrimmed: boolean; signal: AbortSignal },
  ): Promise<boolean> {
    const { late, applyLoop } = this.#parts;
    applyLoop.drop(this.#shard);
    const reason = late ? await late.catchUp(this.#shard, state, signal) : SWITCHED_OFF;
    // Looked at anew where the operator wants something else by now.
    if (reason === undefined || signal.aborted) return true;
    if (!isTrimmed && await this.#dropVainWish(state, { reason, signal })) return true;
    const fields = { ...this.#placeOf(state), reason, hint: WAYS_OUT };
    // Another reason is news: half of a migration is done, or another snapshot is there.
    if (reason !== this.#saidReason) this.#parts.log.error(TRIMMED, fields);
    this.#saidReason = reason;
    return false;
  }

  /** A snapshot that was asked for and cannot come is no reason to stop a stream of which nothing is missing. */
  async #dropVainWish(
    { name }: StreamState,
    { reason, signal }: { reason: string; signal: AbortSignal },
  ): Promise<boolean> {
    const { replica, log } = this.#parts;
    const isDropped =
      await whileBusy(() => replica.recovery.dropMergeWish(name), { ...this.#parts, signal }) ?? false;
    if (isDropped) log.error(VAIN_WISH, { stream: name, reason });
    return isDropped;
  }

  #placeOf(state: StreamState): Record<string, string | number> {
    const { cursor } = this.#parts.replica.positions.get(state.name);
    return { stream: state.name, cursor, first: state.firstSequence, last: state.lastSequence };
  }
}
