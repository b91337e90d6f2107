/**
 * Holds the apply loop at a point of the streams for a moment, so that several nodes can look at their tables after
 * the same messages. What arrives meanwhile waits in the queues.
 */
export class ApplyBarrier {
  readonly #onChange: () => void;
  #state: "open" | "held" | ReadonlyMap<string, number> = "open";

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Nothing is applied from now on. */
  hold(): void {
    this.#state = "held";
  }

  /** Every stream is applied up to its sequence; a stream that is not named, not at all. */
  goOnTo(target: ReadonlyMap<string, number>): void {
    this.#state = new Map(target);
    this.#onChange();
  }

  /** Everything is applied again. */
  release(): void {
    this.#state = "open";
    this.#onChange();
  }

  /** The highest sequence of a stream that may be applied now. */
  limitOf(stream: string): number {
    if (this.#state === "open") return Infinity;
    return this.#state === "held" ? 0 : this.#state.get(stream) ?? 0;
  }
}
