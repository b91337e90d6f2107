/** Virtual time: events happen one after the other, in the order of their moments, as fast as the machine can. */
import type { Clock } from "../../src/runtime/clock.ts";

const START_MS = 1_700_000_000_000;

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly happen: () => void;
}

export class VirtualTime {
  nowMs = START_MS;
  readonly #events: Event[] = [];
  #order = 0;

  schedule(afterMs: number, happen: () => void): void {
    const event = { atMs: this.nowMs + Math.ceil(afterMs), order: this.#order++, happen };
    let at = this.#events.length;
    while (at > 0 && isLater(this.#events[at - 1], event)) at--;
    this.#events.splice(at, 0, event);
  }

  /** Lets `ms` milliseconds pass, with all that happens in them. */
  async pass(ms: number): Promise<void> {
    const end = this.nowMs + ms;
    await drainMicrotasks();
    for (let event = this.#events[0]; event && event.atMs <= end; event = this.#events[0]) {
      this.#events.shift();
      this.nowMs = event.atMs;
      event.happen();
      await drainMicrotasks();
    }
    this.nowMs = end;
  }
}

function isLater(a: Event | undefined, b: Event): boolean {
  return a !== undefined && (a.atMs > b.atMs || (a.atMs === b.atMs && a.order > b.order));
}

/** A macrotask begins only when no microtask is left. */
function drainMicrotasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** One life of a process: when it has ended, nothing that it waited for happens any more. */
export class Life implements Clock {
  isOver = false;
  readonly #time: VirtualTime;
  /** Ends this life the next time the process looks at its clock, which it does inside transactions. */
  crashAtNextLook: (() => never) | undefined;

  /** `onPoint` is called whenever the process goes on after it has waited. */
  constructor(time: VirtualTime, readonly onPoint: () => void = () => {}) {
    this.#time = time;
  }

  nowMs(): number {
    if (this.crashAtNextLook && !this.isOver) this.crashAtNextLook();
    return this.#time.nowMs;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
      this.after(ms, resolve);
    });
  }

  turn(): Promise<void> {
    return new Promise((resolve) => this.after(0, resolve));
  }

  after(ms: number, happen: () => void): void {
    this.#time.schedule(ms, () => {
      if (!this.isOver) this.onPoint();
      if (!this.isOver) happen();
    });
  }
}
