/**
 * One direction of a connection, with a fault on it: bytes go from one socket to another in their order, late, slowly,
 * not now, or never.
 */
import type { Socket } from "node:net";
import type { Random } from "../simulation/random.ts";

export interface LinkFault {
  /**
   * "pass": bytes go on. "hold": they are accepted, and delivered when the fault is over. "swallow": they are accepted
   * and never delivered, so the connection cannot outlive the fault.
   */
  readonly mode: "pass" | "hold" | "swallow";
  /** Each chunk is late by up to so much, drawn at random. */
  readonly delayMs: number;
  /** Infinity for no bound. */
  readonly bytesPerSecond: number;
}

export const NO_FAULT: LinkFault = { mode: "pass", delayMs: 0, bytesPerSecond: Infinity };

/** A sender that is ahead by more is not read from. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** A throttled pipe gives its bytes in so many steps a second. */
const STEPS_PER_SECOND = 50;

/** What waits: bytes, or the sender's end of writing (null). */
interface Waiting {
  readonly bytes: Uint8Array | null;
  readonly dueMs: number;
}

export interface FaultyPipeOptions {
  readonly from: Socket;
  readonly to: Socket;
  readonly random: Random;
  readonly fault: LinkFault;
}

export class FaultyPipe {
  /** Bytes that were delivered. */
  delivered = 0;
  /** Whether bytes, or the end of the connection, were swallowed. */
  hasGap = false;
  readonly #options: FaultyPipeOptions;
  readonly #waiting: Waiting[] = [];
  #fault: LinkFault;
  #waitingBytes = 0;
  #lastDueMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: FaultyPipeOptions) {
    this.#options = options;
    this.#fault = options.fault;
    options.from.on("data", (bytes: Uint8Array) => this.#accept(bytes));
    options.from.once("end", () => this.#accept(null));
  }

  /** Bytes that wait. */
  get waiting(): number {
    return this.#waitingBytes;
  }

  setFault(fault: LinkFault): void {
    this.#fault = fault;
    this.#deliver();
  }

  /** Lets the end of the connection follow what waits, as if the sender had ended it. */
  end(): void {
    this.#accept(null);
  }

  /** Drops what waits. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
  }

  #accept(bytes: Uint8Array | null): void {
    if (this.#fault.mode === "swallow") {
      this.hasGap = true;
      return;
    }
    const delayMs = this.#fault.delayMs === 0 ? 0 : this.#options.random.next() * this.#fault.delayMs;
    this.#lastDueMs = Math.max(this.#lastDueMs, Date.now() + delayMs);
    this.#waiting.push({ bytes, dueMs: this.#lastDueMs });
    this.#waitingBytes += bytes?.length ?? 0;
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#options.from.pause();
    this.#deliver();
  }

  #deliver(): void {
    clearTimeout(this.#timer);
    if (this.#fault.mode === "hold") return;
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      const earlyMs = first.dueMs - Date.now();
      if (earlyMs > 0) return this.#deliverLater(earlyMs);
      this.#waiting.shift();
      if (this.#write(first)) return this.#deliverLater(1000 / STEPS_PER_SECOND);
    }
  }

  #deliverLater(ms: number): void {
    this.#timer = setTimeout(() => this.#deliver(), ms);
  }

  /** Writes as much as may go in one step. True if the next step has to wait. */
  #write({ bytes, dueMs }: Waiting): boolean {
    const { from, to } = this.#options;
    if (bytes === null) {
      to.end();
      return false;
    }
    const allowed = Math.max(1, Math.floor(this.#fault.bytesPerSecond / STEPS_PER_SECOND));
    const now = bytes.subarray(0, Math.min(bytes.length, allowed));
    if (now.length < bytes.length) this.#waiting.unshift({ bytes: bytes.subarray(now.length), dueMs });
    to.write(now);
    this.delivered += now.length;
    this.#waitingBytes -= now.length;
    if (from.isPaused() && this.#waitingBytes <= MAX_WAITING_BYTES) from.resume();
    return this.#fault.bytesPerSecond !== Infinity;
  }
}
