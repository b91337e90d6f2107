/**
 * Reads one shard's stream into the apply loop, from the cursor on, and begins again whenever messages may have been
 * missed. A stream that does not go on where this node left it is stopped and said; the node stays up.
 */
import type { Replica } from "../db/replica.ts";
import { errorText } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { backoffDelayMs } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeStreams, StreamState } from "../stream/change_streams.ts";
import type { ApplyLoop } from "./apply_loop.ts";
import { checkContinuity, type Continuity } from "./continuity.ts";

const BACKOFF = { firstMs: 50, maxMs: 5000 };
/** How often a stopped stream is looked at again. */
const STOPPED_PAUSE_MS = 5000;

const STOPPED: Record<Exclude<Continuity, "continues">, string> = {
  "trimmed":
    "stream stopped: messages that this node has not read are gone, its tables of this stream are out of date",
  "made-anew": "stream stopped: it was made anew since this node read it",
  "rolled-back": "stream stopped: it was rolled back behind what this node has read",
};

export interface ShardReaderParts {
  readonly replica: Replica;
  readonly streams: ChangeStreams;
  readonly applyLoop: ApplyLoop;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
}

export class ShardReader {
  readonly #parts: ShardReaderParts;
  readonly #shard: number;
  /** Name of the stream, once the broker has told it. */
  #stream: string | undefined;
  #said: Continuity = "continues";

  constructor(shard: number, parts: ShardReaderParts) {
    this.#shard = shard;
    this.#parts = parts;
  }

  /** Last sequence that was applied; undefined as long as the stream is not known to go on where this node left it. */
  get cursor(): number | undefined {
    const isGoingOn = this.#stream !== undefined && this.#said === "continues";
    return isGoingOn ? this.#parts.replica.positions.get(this.#stream ?? "").cursor : undefined;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#parts;
    let failures = 0;
    while (!signal.aborted) {
      const beganMs = clock.nowMs();
      try {
        if (!await this.#readOn(signal)) await clock.sleep(STOPPED_PAUSE_MS, signal);
      } catch (error) {
        // Reading ends with an error whenever the connection breaks: what had worked for a while is not failing in a row.
        failures = clock.nowMs() - beganMs > BACKOFF.maxMs ? 1 : failures + 1;
        log.debug("reading interrupted", { shard: this.#shard, reason: errorText(error) });
        await clock.sleep(backoffDelayMs(failures, { ...BACKOFF, random }), signal);
      }
    }
  }

  /** Reads until the broker fails, which throws. False if the stream does not go on where this node left it. */
  async #readOn(signal: AbortSignal): Promise<boolean> {
    const { streams, applyLoop, replica, log } = this.#parts;
    const positionOf = ({ name }: StreamState) => replica.positions.get(name);
    const { continuity, state } = await checkContinuity(streams, this.#shard, positionOf);
    if (this.#stream === undefined && this.#shard === 1) {
      log.info("a node that stays away for longer than the streams keep messages cannot catch up", {
        keptPerStream: state.maxMessages,
      });
    }
    this.#stream = state.name;
    this.#say(continuity, state);
    if (continuity !== "continues") return false;
    applyLoop.begin(this.#shard, { stream: state.name, createdAt: state.createdAt });
    for await (const message of streams.read(this.#shard, positionOf(state).cursor + 1, signal)) {
      const room = applyLoop.enqueue(message);
      if (room) await room;
    }
    return true;
  }

  #say(continuity: Continuity, state: StreamState): void {
    if (continuity === this.#said) return;
    this.#said = continuity;
    const fields = {
      stream: state.name,
      cursor: this.#parts.replica.positions.get(state.name).cursor,
      first: state.firstSequence,
      last: state.lastSequence,
    };
    if (continuity === "continues") this.#parts.log.info("stream goes on", fields);
    else this.#parts.log.error(STOPPED[continuity], fields);
  }
}
