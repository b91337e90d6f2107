/** Random numbers that a seed repeats; the seed is printed, so that a failure can be tried again. */
import process from "node:process";

export class Random {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** With the seed of the SEED variable, or a new one; says which. */
  static announced(what: string): Random {
    const seed = Number(process.env["SEED"] ?? Date.now() % 2 ** 32);
    console.log(`${what}: SEED=${seed}`);
    return new Random(seed);
  }

  /** An integer from 0 to `bound` - 1 (mulberry32). */
  readonly below = (bound: number): number => {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}
