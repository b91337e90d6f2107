/**
 * Holds a node's claim to its id. At most one process goes on as a node: it takes the claim before it touches a
 * stream, renews it well within the lease, and stops when it finds another's in its place.
 *
 *          nobody's, own file's of a process that is gone          another's
 *   take ─────────────────────────────────────────────► held ────────────────► stop ("identity")
 *     │ another's: wait until it is renewed or expires    │ ▲
 *     └─ renewed: refused                        expired  └─┘ taken back
 *
 * While the broker is away nothing can be known: the node goes on, and goes on trying.
 */
import { errorText, MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { backoffDelayMs } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import type { HeldClaim, NodeClaim, NodeClaims } from "../stream/node_claims.ts";
import { isOfSameFile, rivalError, type Self } from "./claim_policy.ts";

/** Parts of the lease between two renewals: three may fail before the claim expires. */
const RENEW_PART = { min: 0.2, max: 0.3 };
/** Between two looks at another's claim. */
const LOOK_MS = 250;
const RETRY = { firstMs: 100, maxMs: 2000 };
const SAY_AGAIN_MS = 30_000;
/** How long the end waits for the claim to be given back. */
const RELEASE_MS = 2000;

export interface ClaimKeeperParts {
  readonly claims: NodeClaims;
  readonly nodeId: bigint;
  readonly self: Self;
  /** Last sequence applied, by stream name. */
  readonly cursors: () => Readonly<Record<string, number>>;
  readonly clock: Clock;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
  readonly log: Log;
}

export class ClaimKeeper {
  readonly #parts: ClaimKeeperParts;
  readonly #since: string;
  #leaseMs = 0;
  #revision: number | undefined;
  #saidAtMs = -SAY_AGAIN_MS;

  constructor(parts: ClaimKeeperParts) {
    this.#parts = parts;
    this.#since = new Date(parts.clock.nowMs()).toISOString();
  }

  /**
   * Takes the claim; resolves to the claim of another process if that one is alive. Waits for the broker as long as it
   * takes. Throws MarmotError where only an operator can help, and the signal's reason when it aborts.
   */
  async take(signal: AbortSignal): Promise<HeldClaim | undefined> {
    this.#leaseMs = await this.#patiently(signal, () => this.#parts.claims.leaseMs());
    let seen: HeldClaim | undefined;
    for (;;) {
      const rival = await this.#patiently(signal, () => this.#tryToTake());
      if (rival === undefined) return undefined;
      // A renewal is a sign of life. Another life in its place is one as well.
      if (seen !== undefined && seen.revision !== rival.revision) return rival;
      if (seen === undefined) this.#sayWaiting(rival);
      seen = rival;
      await this.#parts.clock.sleep(LOOK_MS, signal);
    }
  }

  /**
   * Does the work with the claim renewed beside it, and gives the claim back at the end. Its signal aborts with `stop`, and
   * when the claim is lost; then this throws the MarmotError "identity" that says to whom.
   */
  async keep(stop: AbortSignal, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const done = new AbortController();
    const lost = new AbortController();
    const renewing = this.#renew(done.signal).catch((error) => lost.abort(error));
    try {
      await work(AbortSignal.any([stop, lost.signal]));
    } finally {
      done.abort();
      await this.#end(renewing);
    }
    lost.signal.throwIfAborted();
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#parts;
    while (!signal.aborted) {
      const part = RENEW_PART.min + random() * (RENEW_PART.max - RENEW_PART.min);
      await clock.sleep(part * this.#leaseMs, signal);
      if (signal.aborted) return;
      const rival = await this.#keepTrying(signal, () => this.#tryToRenew());
      if (rival === undefined) continue;
      this.#revision = undefined;
      throw rivalError(rival, { self: this.#parts.self, isLost: true });
    }
  }

  /** One try at a claim that is not ours yet. Returns the claim that is in the way. */
  async #tryToTake(): Promise<HeldClaim | undefined> {
    const { claims, nodeId, self } = this.#parts;
    // One database has one node, under whatever id.
    const twin = (await claims.all()).find((other) => other.nodeId !== nodeId && this.#isTwin(other.claim));
    if (twin) return twin;
    const held = await claims.find(nodeId);
    if (held && held.claim.life !== self.machine.life && !this.#isOwnDead(held.claim)) return held;
    // Ours already if only the answer to an earlier try was lost.
    this.#revision = await claims.put(nodeId, this.#claim(), held?.revision);
    if (this.#revision === undefined) throw new Error("another node changed the claim in this moment");
    if (held && held.claim.life !== self.machine.life) {
      this.#parts.log.info("took over the claim of a process that is gone", { pid: held.claim.pid });
    }
    return undefined;
  }

  /** Returns the claim of another that stands in the place of ours. */
  async #tryToRenew(): Promise<HeldClaim | undefined> {
    const { claims, nodeId, self, log } = this.#parts;
    if (this.#revision !== undefined) {
      this.#revision = await claims.put(nodeId, this.#claim(), this.#revision);
      if (this.#revision !== undefined) return undefined;
    }
    const held = await claims.find(nodeId);
    // A broker that was put back to an earlier state may hold the claim of an earlier life.
    const isEarlier = held && held.claim.since < this.#since && this.#isOwnDead(held.claim);
    if (held && held.claim.life !== self.machine.life && !isEarlier) return held;
    this.#revision = held?.revision;
    if (held === undefined) {
      log.info("the claim to the node id had expired: taking it back", { node: nodeId });
    }
    this.#revision = await claims.put(nodeId, this.#claim(), held?.revision);
    if (this.#revision === undefined) throw new Error("another node changed the claim in this moment");
    return undefined;
  }

  /** Whether a process that is gone held it for this very file. */
  #isOwnDead(claim: NodeClaim): boolean {
    const { machine } = this.#parts.self;
    return isOfSameFile(claim, this.#parts.self) && !machine.isAlive(claim.pid);
  }

  /** Whether a process that is there holds it for this very file. */
  #isTwin(claim: NodeClaim): boolean {
    const { machine } = this.#parts.self;
    return isOfSameFile(claim, this.#parts.self) && machine.isAlive(claim.pid);
  }

  #claim(): NodeClaim {
    const { machine, path, file, version } = this.#parts.self;
    const { host, identity, pid, life } = machine;
    const cursors = this.#parts.cursors();
    return { life, host, machine: identity, path, file, pid, since: this.#since, version, cursors };
  }

  /** Goes on as long as it takes; only what an operator must act on ends it. */
  async #patiently<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    for (let failures = 1;; failures++) {
      signal.throwIfAborted();
      try {
        return await attempt();
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof MarmotError) throw error;
        await this.#pause(error, failures, signal);
      }
    }
  }

  /** As above, but nothing ends it: the node was up. Undefined when the signal aborts. */
  async #keepTrying<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T | undefined> {
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        return await attempt();
      } catch (error) {
        await this.#pause(error, failures, signal);
      }
    }
    return undefined;
  }

  async #pause(error: unknown, failures: number, signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#parts;
    // The first failure is often the lost connection, which has its own line.
    if (failures > 3 && clock.nowMs() - this.#saidAtMs >= SAY_AGAIN_MS) {
      this.#saidAtMs = clock.nowMs();
      log.warn("cannot claim the node id, trying again", { reason: errorText(error) });
    }
    await clock.sleep(backoffDelayMs(failures, { ...RETRY, random }), signal);
  }

  #sayWaiting({ nodeId, claim }: HeldClaim): void {
    this.#parts.log.warn(
      "another process holds the claim, waiting to see whether it is alive",
      {
        node: nodeId,
        host: claim.host,
        pid: claim.pid,
        since: claim.since,
        leaseSeconds: this.#leaseMs / 1000,
      },
    );
  }

  /** Gives the claim back, unless the broker takes too long to answer: then it expires by itself. */
  async #end(renewing: Promise<void>): Promise<void> {
    const { claims, nodeId, clock, log } = this.#parts;
    const given = renewing.then(async () => {
      if (this.#revision !== undefined) await claims.release(nodeId, this.#revision);
    }).catch((error) => log.debug("the claim was not given back", { reason: errorText(error) }));
    const waited = new AbortController();
    await Promise.race([given, clock.sleep(RELEASE_MS, waited.signal)]);
    waited.abort();
  }
}
