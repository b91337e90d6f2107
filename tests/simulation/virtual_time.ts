/** Virtual time: events happen one after the other, in the order of their moments, as fast as the machine can. */
import type { Clock } from "../../src/runtime/clock.ts";

/** When every history begins. */
export const START_MS = 1_700_000_000_000;

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly happen: () => void;
}

export class VirtualTime {
  nowMs = START_MS;
  readonly #events: Event[] = [];
  /** Work that takes real time; no virtual time passes meanwhile. */
  readonly #outside: (() => Promise<void>)[] = [];
  #order = 0;

  /** Does work that waits for real files, as soon as the present event is over: alone, and in the order in which it was asked for. */
  outside<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#outside.push(() => work().then(resolve, reject));
    });
  }

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
      for (let work = this.#outside.shift(); work; work = this.#outside.shift()) {
        await work();
        await drainMicrotasks();
      }
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
      const wake = () => {
        // Each listener that is added looks through all that are there.
        signal.removeEventListener("abort", wake);
        resolve();
      };
      signal.addEventListener("abort", wake, { once: true });
      this.after(ms, wake);
    });
  }

  turn(): Promise<void> {
    return new Promise((resolve) => this.after(0, resolve));
  }

  /** Does work on real files in a moment of its own; its outcome is there so many milliseconds later. */
  outside<T>(work: () => Promise<T>, ms = 0): Promise<T> {
    return new Promise((resolve, reject) =>
      this.after(0, () =>
        void this.#time.outside(work).then(
          (result) => this.after(ms, () => resolve(result)),
          (error) => this.after(ms, () => reject(error)),
        ))
    );
  }

  after(ms: number, happen: () => void): void {
    this.#time.schedule(ms, () => {
      if (!this.isOver) this.onPoint();
      if (!this.isOver) happen();
    });
  }
}
