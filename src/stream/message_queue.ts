/** Messages that have come and wait to be taken: one side pushes, the other takes in order. */
import type { StoredMessage } from "./change_streams.ts";

export class MessageQueue {
  #items: StoredMessage[] = [];
  #head = 0;
  #bytes = 0;
  #failure: { readonly error: unknown } | undefined;
  #isEnded = false;
  #wake: (() => void) | undefined;

  /** How many wait. */
  get messages(): number {
    return this.#items.length - this.#head;
  }

  /** Their payloads together. */
  get bytes(): number {
    return this.#bytes;
  }

  /** After this, what is pushed is dropped. */
  get isClosed(): boolean {
    return this.#isEnded || this.#failure !== undefined;
  }

  push(message: StoredMessage): void {
    if (this.isClosed) return;
    this.#items.push(message);
    this.#bytes += message.payload.length;
    this.#wake?.();
  }

  /** Lets the taking side throw, once it has taken what came before. */
  fail(error: unknown): void {
    if (this.isClosed) return;
    this.#failure = { error };
    this.#wake?.();
  }

  /** Ends the taking side at once. */
  end(): void {
    this.#isEnded = true;
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#wake?.();
  }

  /** The next message if one waits. */
  shift(): StoredMessage | undefined {
    const message = this.#items[this.#head];
    if (message === undefined) return undefined;
    this.#head++;
    this.#bytes -= message.payload.length;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    }
    return message;
  }

  /** Waits for the next message; undefined at the end. Throws the error given to `fail`. */
  async next(): Promise<StoredMessage | undefined> {
    for (;;) {
      const message = this.shift();
      if (message !== undefined || this.#isEnded) return message;
      if (this.#failure !== undefined) throw this.#failure.error;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }
}
