/** A broker's claims in memory, on virtual time: the contract of src/stream/node_claims.ts. */
import type { VirtualTime } from "../simulation/virtual_time.ts";
import type { HeldClaim, NodeClaim, NodeClaims } from "../../src/stream/node_claims.ts";

export const LEASE_MS = 15_000;

interface Stored extends HeldClaim {
  readonly expiresAtMs: number;
}

export class MemoryClaims implements NodeClaims {
  /** While true, nobody gets an answer. */
  isAway = false;
  /** While true, nobody is even told that there is no answer. */
  isSilent = false;
  /** Stores the next change without an answer. */
  losesNextAnswer = false;
  readonly #stored = new Map<bigint, Stored>();
  readonly #time: VirtualTime;
  #revision = 0;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  leaseMs(): Promise<number> {
    return this.#answer(() => LEASE_MS);
  }

  find(nodeId: bigint): Promise<HeldClaim | undefined> {
    return this.#answer(() => this.#held(nodeId));
  }

  all(): Promise<HeldClaim[]> {
    return this.#answer(() =>
      [...this.#stored.keys()].map((id) => this.#held(id)).filter((held) => held !== undefined)
    );
  }

  put(nodeId: bigint, claim: NodeClaim, revision: number | undefined): Promise<number | undefined> {
    return this.#answer(() => {
      if (this.#held(nodeId)?.revision !== revision) return undefined;
      this.#revision++;
      this.#stored.set(nodeId, {
        nodeId,
        claim,
        revision: this.#revision,
        expiresAtMs: this.#time.nowMs + LEASE_MS,
      });
      return this.#revision;
    });
  }

  release(nodeId: bigint, revision: number): Promise<void> {
    return this.#answer(() => {
      if (this.#held(nodeId)?.revision === revision) this.#stored.delete(nodeId);
    });
  }

  /** Puts a claim back that stood there before, as a restored broker does. */
  restore(held: HeldClaim): void {
    this.#stored.set(held.nodeId, { ...held, expiresAtMs: this.#time.nowMs + LEASE_MS });
  }

  /** Who holds an id at this moment, whether the broker answers or not. */
  holderOf(nodeId: bigint): string | undefined {
    return this.#held(nodeId)?.claim.life;
  }

  #held(nodeId: bigint): HeldClaim | undefined {
    const stored = this.#stored.get(nodeId);
    return stored && stored.expiresAtMs > this.#time.nowMs ? stored : undefined;
  }

  /** An answer comes a millisecond later. */
  #answer<T>(work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#time.schedule(1, () => {
        if (this.isSilent) return;
        if (this.isAway) return reject(new Error("the broker is away"));
        const result = work();
        if (!this.losesNextAnswer) return resolve(result);
        this.losesNextAnswer = false;
        reject(new Error("no answer"));
      });
    });
  }
}
