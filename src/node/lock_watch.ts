/** Tells the operator, once, that an application keeps the write lock for long, and when that is over. */
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";

/** Much longer than a transaction that means well. */
const LONG_MS = 5000;

export class LockWatch {
  readonly #clock: Clock;
  readonly #log: Log;
  #sinceMs: number | undefined;
  #isSaid = false;

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  /** To be called whenever the lock could not be had. */
  noteBusy(): void {
    const nowMs = this.#clock.nowMs();
    this.#sinceMs ??= nowMs;
    if (this.#isSaid || nowMs - this.#sinceMs < LONG_MS) return;
    this.#isSaid = true;
    this.#log.warn("an application holds the database's write lock, remote changes wait for it", {
      seconds: Math.round((nowMs - this.#sinceMs) / 1000),
    });
  }

  /** To be called when the lock was had. */
  noteFree(): void {
    if (this.#isSaid && this.#sinceMs !== undefined) {
      this.#log.info("the database's write lock is free again, remote changes are applied", {
        seconds: Math.round((this.#clock.nowMs() - this.#sinceMs) / 1000),
      });
    }
    this.#sinceMs = undefined;
    this.#isSaid = false;
  }
}
