/**
 * In the original's format messages have no numbers. At most one per shard is unacknowledged, so an own message is known
 * by its bytes while it is in flight, and by its sequence afterwards.
 */
export class EchoBook {
  readonly #inFlight = new Map<number, { payload: Uint8Array; top: number }>();
  readonly #acknowledged = new Map<number, Map<number, number>>();

  begin(shard: number, { payload, top }: { payload: Uint8Array; top: number }): void {
    this.#inFlight.set(shard, { payload, top });
  }

  acknowledge(shard: number, sequence: number): void {
    const message = this.#inFlight.get(shard);
    if (!message) return;
    this.#inFlight.delete(shard);
    const tops = this.#acknowledged.get(shard) ?? new Map<number, number>();
    this.#acknowledged.set(shard, tops.set(sequence, message.top));
  }

  /** The log ids that the message covers if it is an echo. */
  topOf(shard: number, sequence: number, payload: Uint8Array): number | undefined {
    const acknowledged = this.#acknowledged.get(shard)?.get(sequence);
    if (acknowledged !== undefined) return acknowledged;
    // Only now its bytes: a row that has a former value again makes the same message a second time.
    const message = this.#inFlight.get(shard);
    if (!message || !isSame(message.payload, payload)) return undefined;
    this.acknowledge(shard, sequence);
    return message.top;
  }

  /** To be called when a message was applied. */
  remove(shard: number, sequence: number): void {
    this.#acknowledged.get(shard)?.delete(sequence);
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
