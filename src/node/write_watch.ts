/** Whether the application writes: transactions beside it are shorter then, and leave the lock to it. */
import type { Clock } from "../runtime/clock.ts";

/** How long it counts as writing after a change was captured. */
const SHARED_MS = 500;
/** For so long changes are counted. */
const SPAN_MS = 100;
/** So many in that time count as writing without a pause, and as writing all that it can. */
const CHANGES = { busy: 20, flatOut: 200 };

/** How much the application writes: now and then, without a pause, or all that it can. */
export type WriteLoad = "light" | "busy" | "flat out";

export class WriteWatch {
  readonly #clock: Clock;
  readonly #captured: () => number;
  #seen: number | undefined;
  #wroteAtMs = -Infinity;
  #measured: { readonly atMs: number; readonly captured: number };
  /** How much was written in the last span that was measured. */
  #load: WriteLoad = "light";

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

  /** How much the application writes of late: each transaction beside one that is busy makes it wait. */
  load(): WriteLoad {
    const [atMs, captured] = [this.#clock.nowMs(), this.#captured()];
    const passedMs = atMs - this.#measured.atMs;
    const changes = captured - this.#measured.captured;
    if (passedMs >= SPAN_MS) {
      this.#measured = { atMs, captured };
      return this.#load = loadOf(changes * SPAN_MS / passedMs);
    }
    return this.#load === "light" && changes >= CHANGES.busy ? "busy" : this.#load;
  }
}

/** The load of so many changes in a span. */
function loadOf(changes: number): WriteLoad {
  if (changes >= CHANGES.flatOut) return "flat out";
  return changes >= CHANGES.busy ? "busy" : "light";
}
