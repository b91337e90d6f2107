/**
 * Claims in a KV bucket whose entries the server removes when they were not renewed for the lease (the age limit of
 * the bucket's stream, which every server with KV has). Every change is a compare-and-set on the revision.
 */
import {
  jetstream,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  type StreamInfo,
} from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { errors, PermissionViolationError } from "@nats-io/nats-core";
import { MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { fnv1 } from "../wire/fnv.ts";
import { ApiCode, asOperatorError } from "./broker_errors.ts";
import { type Connection, REQUEST_TIMEOUT_MS, untilAborted } from "./connection.ts";
import { decodeClaim, encodeClaim, type HeldClaim, type NodeClaim, type NodeClaims } from "./node_claims.ts";

/** The lease of buckets that are made now. Buckets that exist keep theirs. */
export const LEASE_MS = 15_000;

/** Keys in the bucket that are no node ids; compatibility constants. */
export type LeaseName = "save-snapshot";

export interface KvNodeClaimsOptions {
  readonly connection: Connection;
  readonly streamPrefix: string;
  /** Replicas of a bucket that is made now. */
  readonly replicas: number;
  readonly log: Log;
  /** Lease of a bucket that is made now, in milliseconds; 15,000 unless told. */
  readonly leaseMs?: number;
}

interface OpenBucket {
  readonly entries: KV;
  readonly manager: JetStreamManager;
  readonly leaseMs: number;
}

/**
 * `<stream-prefix>-nodes`, a compatibility constant. A bucket's name holds fewer characters than a stream's:
 * a prefix with others is told apart by its hash.
 */
export function bucketName(streamPrefix: string): string {
  if (/^[-\w]+$/.test(streamPrefix)) return `${streamPrefix}-nodes`;
  const hash = fnv1(new TextEncoder().encode(streamPrefix)).toString(16).padStart(16, "0");
  return `${streamPrefix.replaceAll(/[^-\w]/gu, "_")}-${hash}-nodes`;
}

export class KvNodeClaims implements NodeClaims {
  readonly #options: KvNodeClaimsOptions;
  readonly #bucket: string;
  #open: OpenBucket | undefined;

  constructor(options: KvNodeClaimsOptions) {
    this.#options = options;
    this.#bucket = bucketName(options.streamPrefix);
  }

  leaseMs(): Promise<number> {
    return this.#ask(({ leaseMs }) => Promise.resolve(leaseMs));
  }

  find(nodeId: bigint): Promise<HeldClaim | undefined> {
    return this.#ask(({ entries }) => read(entries, nodeId.toString()));
  }

  all(): Promise<HeldClaim[]> {
    return this.#ask(async ({ entries, manager }) => {
      const prefix = `$KV.${this.#bucket}.`;
      const { state } = await manager.streams.info(this.#streamName, { subjects_filter: `${prefix}>` });
      const keys = Object.keys(state.subjects ?? {}).map((subject) => subject.slice(prefix.length));
      const held = await Promise.all(
        keys.filter((key) => /^\d+$/.test(key)).map((key) => read(entries, key)),
      );
      return held.filter((claim) => claim !== undefined);
    });
  }

  put(nodeId: bigint, claim: NodeClaim, revision: number | undefined): Promise<number | undefined> {
    return this.#put(nodeId.toString(), encodeClaim(claim), revision);
  }

  release(nodeId: bigint, revision: number): Promise<void> {
    return this.#release(nodeId.toString(), revision);
  }

  /** Takes or renews a lease that is no node's claim, such as that of the one who saves a snapshot; as `put`. */
  putLease(name: LeaseName, holder: string, revision: number | undefined): Promise<number | undefined> {
    return this.#put(name, JSON.stringify({ holder }), revision);
  }

  /** Gives a lease of that revision back; as `release`. */
  releaseLease(name: LeaseName, revision: number): Promise<void> {
    return this.#release(name, revision);
  }

  #put(key: string, value: string, revision: number | undefined): Promise<number | undefined> {
    return this.#ask(async ({ entries }) => {
      try {
        if (revision === undefined) return await entries.create(key, value);
        return await entries.update(key, value, revision, REQUEST_TIMEOUT_MS);
      } catch (error) {
        if (isWrongRevision(error)) return undefined;
        throw error;
      }
    });
  }

  #release(key: string, revision: number): Promise<void> {
    return this.#ask(async ({ entries }) => {
      try {
        await entries.delete(key, { previousSeq: revision });
      } catch (error) {
        if (!isWrongRevision(error)) throw error;
      }
    });
  }

  get #streamName(): string {
    return `KV_${this.#bucket}`;
  }

  /** Asks only while the connection is up, and waits for the answer no longer than it is. */
  async #ask<T>(question: (bucket: OpenBucket) => Promise<T>): Promise<T> {
    const { session } = this.#options.connection;
    session.throwIfAborted();
    try {
      this.#open ??= await untilAborted(this.#makeBucket(), session);
      return await untilAborted(question(this.#open), session);
    } catch (error) {
      // It may have been deleted: the next question makes it anew.
      this.#open = undefined;
      throw this.#asOperatorError(error) ?? error;
    }
  }

  async #makeBucket(): Promise<OpenBucket> {
    const { connection: { nats }, replicas, log, leaseMs = LEASE_MS } = this.#options;
    const client = jetstream(nats, { timeout: REQUEST_TIMEOUT_MS });
    const manager = await jetstreamManager(nats, { checkAPI: false, timeout: REQUEST_TIMEOUT_MS });
    // Every reader asks the leader: a follower may answer with a claim that was given back.
    const settings = { ttl: leaseMs, history: 1, allow_direct: false };
    let entries: KV;
    try {
      entries = await new Kvm(client).create(this.#bucket, { ...settings, replicas });
    } catch (error) {
      if (replicas === 1 || !isTooFewServers(error)) throw error;
      log.warn("the node ids are kept with one replica: there are fewer NATS servers than log-replicas", {
        bucket: this.#bucket,
      });
      entries = await new Kvm(client).create(this.#bucket, { ...settings, replicas: 1 });
    }
    return { entries, manager, leaseMs: leaseOf(await manager.streams.info(this.#streamName)) };
  }

  #asOperatorError(error: unknown): MarmotError | undefined {
    const reason = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    if (reason instanceof PermissionViolationError || error instanceof errors.AuthorizationError) {
      return new MarmotError("broker", `Cannot claim the node id: ${(reason as Error).message}`, {
        hint:
          `allow this user to publish to $JS.API.> and $KV.${this.#bucket}.>, and to subscribe to _INBOX.>`,
        cause: error,
      });
    }
    // What two nodes that make the bucket at the same time meet passes by itself, and so does a missing leader.
    if (error instanceof JetStreamApiError) {
      if (error.code === ApiCode.nameInUse || asOperatorError(error) === undefined) return undefined;
      if (error.code !== ApiCode.notEnabled && error.code !== ApiCode.notEnabledForAccount) {
        return new MarmotError("broker", `Cannot claim the node id: ${error.message}`, { cause: error });
      }
    }
    return asOperatorError(error);
  }
}

async function read(entries: KV, key: string): Promise<HeldClaim | undefined> {
  const entry = await entries.get(key);
  if (entry === null || entry.operation !== "PUT") return undefined;
  return { nodeId: BigInt(key), claim: decodeClaim(entry.string()), revision: entry.revision };
}

/** How long the bucket keeps an entry. Throws MarmotError where that is for ever. */
function leaseOf({ config }: StreamInfo): number {
  const leaseMs = config.max_age / 1e6;
  if (leaseMs > 0) return leaseMs;
  const bucket = config.name.slice("KV_".length);
  throw new MarmotError(
    "broker",
    `Cannot claim the node id: the bucket "${bucket}" keeps its entries for ever`,
    { hint: "Delete the bucket: the next node that starts makes it anew, with entries that expire." },
  );
}

function isWrongRevision(error: unknown): boolean {
  return error instanceof JetStreamApiError &&
    (error.code === ApiCode.wrongLastSequence || error.code === ApiCode.wrongLastSequenceUnknown);
}

function isTooFewServers(error: unknown): boolean {
  return error instanceof JetStreamApiError &&
    (error.code === ApiCode.replicasNotSupported || error.code === ApiCode.noSuitablePeers);
}
