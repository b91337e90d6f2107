/**
 * In the original's format messages have no numbers. At most one per shard is unacknowledged, so an own message is known
 * by its bytes while it is in flight, and by its sequence afterwards.
 */
export interface SentMessage {
  /** Its publisher's own number of it. */
  readonly number: number;
  readonly payload: Uint8Array;
  /** The highest log id that it covers. */
  readonly top: number;
}

export class EchoBook {
  readonly #inFlight = new Map<number, SentMessage>();
  /** By shard and sequence. */
  readonly #acknowledged = new Map<number, Map<number, SentMessage>>();

  begin(shard: number, message: SentMessage): void {
    this.#inFlight.set(shard, message);
  }

  acknowledge(shard: number, sequence: number): void {
    const message = this.#inFlight.get(shard);
    if (!message) return;
    this.#inFlight.delete(shard);
    const messages = this.#acknowledged.get(shard) ?? new Map<number, SentMessage>();
    this.#acknowledged.set(shard, messages.set(sequence, message));
  }

  /** The log ids that the message covers if it is an echo. */
  topOf(shard: number, sequence: number, payload: Uint8Array): number | undefined {
    const acknowledged = this.#acknowledged.get(shard)?.get(sequence);
    if (acknowledged !== undefined) return acknowledged.top;
    // Only now its bytes: a row that has a former value again makes the same message a second time.
    const message = this.#inFlight.get(shard);
    if (!message || !isSame(message.payload, payload)) return undefined;
    this.acknowledge(shard, sequence);
    return message.top;
  }

  /** To be called when a message was applied. Returns its number if it is an echo. */
  remove(shard: number, sequence: number): number | undefined {
    const number = this.#acknowledged.get(shard)?.get(sequence)?.number;
    this.#acknowledged.get(shard)?.delete(sequence);
    return number;
  }

  /** Forgets a shard: what was sent is in doubt. */
  forget(shard: number): void {
    this.#inFlight.delete(shard);
    this.#acknowledged.delete(shard);
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
