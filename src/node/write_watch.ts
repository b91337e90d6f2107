/** Whether the application writes: transactions beside it are shorter then, and leave the lock to it. */
import type { Clock } from "../runtime/clock.ts";

/** How long it counts as writing after a change was captured. */
const SHARED_MS = 500;
/** What counts as writing without a pause: so many changes in this time. */
const BUSY = { changes: 20, milliseconds: 100 };

export class WriteWatch {
  readonly #clock: Clock;
  readonly #captured: () => number;
  #seen: number | undefined;
  #wroteAtMs = -Infinity;
  #measured: { readonly atMs: number; readonly captured: number };
  #wasBusy = false;

  /** `captured` grows with each change that is captured. What there is counts as written just now, unless `seen` says so much was there before. */
  constructor(clock: Clock, captured: () => number, seen?: number) {
    this.#clock = clock;
    this.#captured = captured;
    this.#seen = seen;
    this.#measured = { atMs: clock.nowMs(), captured: captured() };
  }

  /** Whether the application has written of late, as far as it was asked. */
  isWriting(): boolean {
    const nowMs = this.#clock.nowMs();
    const captured = this.#captured();
    if (captured !== this.#seen) this.#wroteAtMs = nowMs;
    this.#seen = captured;
    return nowMs - this.#wroteAtMs < SHARED_MS;
  }

  /** Whether the application writes without a pause: each transaction beside it then makes it wait. */
  isBusy(): boolean {
    const [atMs, captured] = [this.#clock.nowMs(), this.#captured()];
    const passedMs = atMs - this.#measured.atMs;
    const changes = captured - this.#measured.captured;
    if (passedMs >= BUSY.milliseconds) {
      this.#wasBusy = changes / passedMs >= BUSY.changes / BUSY.milliseconds;
      this.#measured = { atMs, captured };
      return this.#wasBusy;
    }
    return this.#wasBusy || changes >= BUSY.changes;
  }
}
