/**
 * What became of changes that were sent and not read back: sets of changes whose messages were all acknowledged are in the
 * stream for certain. Where the server has trimmed them before they were read, this is all that is known of them.
 */
import type { StoredChanges } from "../db/snapshot/snapshot_merge.ts";

export type SentChanges = Omit<StoredChanges, "sequence">;

interface SentSet {
  readonly changes: SentChanges;
  /** Numbers of messages of which nothing is known. */
  readonly open: Set<number>;
  /** Numbers of messages that were not read back. */
  readonly unread: Set<number>;
  sequence: number;
}

export class SentSets {
  readonly #byNumber = new Map<number, SentSet>();
  readonly #sets = new Set<SentSet>();

  /** To be called before the first of the messages is sent. */
  begin(changes: SentChanges, numbers: readonly number[]): void {
    const set = { changes, open: new Set(numbers), unread: new Set(numbers), sequence: 0 };
    if (numbers.length === 0) return;
    this.#sets.add(set);
    for (const number of numbers) this.#byNumber.set(number, set);
  }

  /** To be called when the server has stored a message at a sequence. */
  acknowledge(number: number, sequence: number): void {
    const set = this.#byNumber.get(number);
    if (!set) return;
    set.open.delete(number);
    set.sequence = Math.max(set.sequence, sequence);
  }

  /** To be called when a message was read back: with the last of its set there is no doubt about it. */
  readBack(number: number): void {
    const set = this.#byNumber.get(number);
    this.#byNumber.delete(number);
    if (!set) return;
    set.open.delete(number);
    set.unread.delete(number);
    if (set.unread.size === 0) this.#sets.delete(set);
  }

  /** The sets that are in the stream for certain and were not read back, in the order in which they were sent. */
  stored(): StoredChanges[] {
    return [...this.#sets].filter((set) => set.open.size === 0)
      .map(({ changes, sequence }) => ({ ...changes, sequence }));
  }

  /** To be called when the stream was read to its end: whatever was stored was read back. */
  clear(): void {
    this.#byNumber.clear();
    this.#sets.clear();
  }
}
