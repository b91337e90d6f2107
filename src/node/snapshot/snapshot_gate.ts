/**
 * Holds publishing back, for a bounded time, before a stream drops messages that no snapshot covers: a node that is away
 * until then could not be given a copy. Once the time is over it goes on, and holds no more before a new snapshot is there.
 */
import type { Log } from "../../observability/log.ts";
import type { Clock } from "../../runtime/clock.ts";
import { roomBeforeTrim } from "./save_policy.ts";

/** How long publishing may wait for a snapshot. */
export const MAX_HOLD_MS = 10_000;
/** The part of a stream that stays free for what others publish, and what is under way. */
const RESERVE = 0.1;

export class SnapshotGate {
  readonly #log: Log;
  readonly #clock: Clock;
  /** By stream, how far the newest snapshot covers it; undefined while that is not known: then nothing is held. */
  #covered: ReadonlyMap<string, number> | undefined;
  #heldSinceMs: number | undefined;
  #isGivenUp = false;
  /**
   * Lets everything through: a save waits until what is pending in its copy is published. It was captured before all else,
   * so it goes first.
   */
  isOpen = false;
  /** How long the last save took; to wait for one that takes too long is of no use. */
  lastSaveTookMs = 0;
  /** Called when publishing begins to wait. */
  onHold: () => void = () => {};

  constructor({ log, clock }: { log: Log; clock: Clock }) {
    this.#log = log;
    this.#clock = clock;
  }

  /** To be called with what the newest snapshot covers, whenever that is looked at. */
  setCovered(covered: ReadonlyMap<string, number>): void {
    const before = this.#covered;
    const isNew = before === undefined ||
      [...covered].some(([name, sequence]) => before.get(name) !== sequence);
    this.#covered = covered;
    if (!isNew) return;
    if (this.#heldSinceMs !== undefined) this.#log.info("publishing goes on: a new snapshot is there");
    this.#heldSinceMs = undefined;
    this.#isGivenUp = false;
  }

  /** Whether publishing waits at this moment. */
  get isHolding(): boolean {
    return this.#heldSinceMs !== undefined;
  }

  /** Whether nothing should be published to a stream now, of which `cursor` is known to be there. */
  isHeld(stream: string, { cursor, maxMessages }: { cursor: number; maxMessages: number }): boolean {
    if (this.#covered === undefined || this.#isGivenUp || !Number.isFinite(maxMessages)) return false;
    if (this.lastSaveTookMs > MAX_HOLD_MS) return false;
    const covered = this.#covered.get(stream) ?? 0;
    if (roomBeforeTrim({ lastSequence: cursor, maxMessages, covered }) > maxMessages * RESERVE) return false;
    if (this.isOpen) return false;
    const nowMs = this.#clock.nowMs();
    if (this.#heldSinceMs === undefined) {
      this.#heldSinceMs = nowMs;
      this.#log.info("publishing waits for a snapshot, before the stream drops what none covers", { stream });
      this.onHold();
    }
    if (nowMs - this.#heldSinceMs < MAX_HOLD_MS) return true;
    this.#isGivenUp = true;
    this.#heldSinceMs = undefined;
    this.#log.warn(
      "publishing goes on without a snapshot: a node that is away now may have to be copied by hand",
      {
        stream,
        waitedSeconds: MAX_HOLD_MS / 1000,
      },
    );
    return false;
  }
}
