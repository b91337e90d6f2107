/** A bell for one sleeper: rung any number of times before it sleeps, it wakes once. */
export class Wakeup {
  #isRung = false;
  #resolve: (() => void) | undefined;

  ring(): void {
    this.#isRung = true;
    this.#resolve?.();
  }

  /** Resolves when the bell was rung since the last wait. */
  async wait(): Promise<void> {
    if (!this.#isRung) {
      await new Promise<void>((resolve) => this.#resolve = resolve);
      this.#resolve = undefined;
    }
    this.#isRung = false;
  }
}
