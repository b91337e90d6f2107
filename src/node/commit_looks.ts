/**
 * When to look for commits again: at once when something tells of one, else after a while. Marmot asks SQLite (a commit
 * of another connection moves data_version), and what tells of commits is a hint that may stay out.
 */
import type { Clock } from "../runtime/clock.ts";

/** Between two looks, in milliseconds: while commits come, and when none came for a while. */
const LOOK_MS = { busy: 2, idle: 10 };
/**
 * Between two looks where hints come. SQLite writes the log first, may have to wait for the disk, and then makes the
 * commit visible, of which nothing tells: after a hint the pauses double from the first to the longest.
 */
const HINTED_MS = { first: 1, longest: 500 };
/** How long commits count as coming. */
const BUSY_MS = 1000;
/** More hints within this time cost more than looking without: the files are not watched while commits come. */
const MANY_HINTS = { count: 100, milliseconds: 100 };
/** So many times in a row commits were there without a hint: this file system gives none. */
const MAX_SILENT = 3;

/** Tells when a database was written. */
export interface CommitHints {
  /** Begins to listen; false where it can't now. */
  open(): boolean;
  /** Whether there was a hint since the last time; waits for one so long, or until the signal aborts. */
  wait(milliseconds: number, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

export class CommitLooks {
  readonly #clock: Clock;
  readonly #idleMs: number;
  #hints: CommitHints | undefined;
  #isListening = false;
  #busyUntilMs = 0;
  #many = { sinceMs: 0, count: 0 };
  #pauseMs = HINTED_MS.first;
  /** Whether the last look came without a hint that could have told of it. */
  #isUnhinted = false;
  #silent = 0;

  /** `idleMs`: longest time between two looks without hints, 10 unless told. */
  constructor(clock: Clock, { hints, idleMs = LOOK_MS.idle }: { hints?: CommitHints; idleMs?: number } = {}) {
    this.#clock = clock;
    this.#hints = hints;
    this.#idleMs = idleMs;
  }

  /** Resolves when it is time to look again; `hasNew` says whether the last look found commits. */
  async next(hasNew: boolean, signal: AbortSignal): Promise<void> {
    if (hasNew && this.#isUnhinted) this.#countSilent();
    const nowMs = this.#clock.nowMs();
    const isBusy = () => nowMs < this.#busyUntilMs;
    if (hasNew && (isBusy() || !this.#isListening)) this.#busyUntilMs = nowMs + BUSY_MS;
    this.#isUnhinted = false;
    if (isBusy()) return await this.#clock.sleep(LOOK_MS.busy, signal);
    const hadListened = this.#isListening;
    this.#isListening = this.#hints?.open() ?? false;
    // Between the last look and the listening a commit may have come.
    if (!this.#hints || !hadListened || !this.#isListening) {
      return await this.#clock.sleep(this.#idleMs, signal);
    }
    const pauseMs = hasNew ? HINTED_MS.first : this.#pauseMs;
    const isHinted = await this.#hints.wait(pauseMs, signal);
    this.#pauseMs = isHinted ? HINTED_MS.first : Math.min(2 * pauseMs, HINTED_MS.longest);
    this.#isUnhinted = !isHinted && pauseMs === HINTED_MS.longest;
    if (isHinted) this.#countHint();
  }

  /** Ends listening. */
  close(): void {
    this.#hints?.close();
    this.#isListening = false;
  }

  /** Gives up hints that do not come: there were commits. */
  #countSilent(): void {
    if (++this.#silent < MAX_SILENT) return;
    this.close();
    this.#hints = undefined;
  }

  /** Stops listening where there is too much to hear. */
  #countHint(): void {
    this.#silent = 0;
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#many.sinceMs >= MANY_HINTS.milliseconds) this.#many = { sinceMs: nowMs, count: 0 };
    if (++this.#many.count < MANY_HINTS.count) return;
    this.close();
    this.#busyUntilMs = nowMs + BUSY_MS;
  }
}
