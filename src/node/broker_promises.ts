/**
 * Says what the broker promises and how far the slowest node is, and warns of nodes that lag so far behind that its streams
 * may drop what they have not read. Every node that holds a claim tells its cursors in it; one that is away tells nothing.
 */
import { errorText } from "../errors.ts";
import type { Log, LogFields } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import type { HeldClaim } from "../stream/node_claims.ts";
import type { StreamPromises } from "../stream/stream_promises.ts";
import type { NodeId } from "../wire/batch.ts";

/** Shares of what a stream keeps: where a node begins to lag, and where it no longer does. */
const LAGGING = { from: 1 / 2, until: 1 / 3 };
/** Between two looks, in leases: longer than between two renewals, which carry the cursors. */
const LOOK_LEASES = { min: 0.7, max: 1 };
/** While the lease is not known. */
const FIRST_LOOK_MS = 5_000;

export interface BrokerPromisesParts {
  /** Of this node. */
  readonly nodeId: NodeId;
  /** Of all streams. Throws when the broker does not answer. */
  readonly streams: () => Promise<readonly StreamPromises[]>;
  /** Throws when the broker does not answer. */
  readonly claims: () => Promise<readonly HeldClaim[]>;
  /** When the broker stored a message, in milliseconds since 1970; undefined where it is gone. */
  readonly storedAtMs: (stream: string, sequence: number) => Promise<number | undefined>;
  /** How long a claim holds, in milliseconds. Throws when the broker does not answer. */
  readonly leaseMs: () => Promise<number>;
  readonly clock: Clock;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
  readonly log: Log;
  /** Whether a node that was away for too long gets a snapshot. */
  readonly hasSnapshots: boolean;
}

export type LagState = "near" | "lagging" | "left-behind";

/** What a node has not read of a stream. */
interface Lag {
  readonly stream: StreamPromises;
  readonly nodeId: NodeId;
  readonly host: string;
  /** Messages, gone ones included. */
  readonly unread: number;
  /** Of what the stream may keep; above 1 where some of it is gone. */
  readonly share: number;
}

export class BrokerPromises {
  readonly #parts: BrokerPromisesParts;
  /** By node and stream; what is near is left out. */
  readonly #said = new Map<string, LagState>();
  #before: readonly StreamPromises[] = [];
  #lookMs = FIRST_LOOK_MS;
  #hasSaidSlowest = false;

  constructor(parts: BrokerPromisesParts) {
    this.#parts = parts;
  }

  /** Says what the streams are kept for, then watches the lag, until the signal aborts. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    while (!signal.aborted) {
      const turn = this.#turn().catch((error) => {
        log.debug("cannot ask the broker what it keeps", { reason: errorText(error) });
      });
      // An answer that comes too late is nobody's loss.
      await Promise.race([turn, aborted]);
      await clock.sleep(this.#lookMs, signal);
    }
  }

  async #turn(): Promise<void> {
    const { streams, leaseMs, random, log, hasSnapshots } = this.#parts;
    if (this.#before.length > 0) await this.look();
    else {
      this.#before = await streams();
      sayPromises(this.#before, { log, hasSnapshots });
    }
    this.#lookMs = (LOOK_LEASES.min + random() * (LOOK_LEASES.max - LOOK_LEASES.min)) * await leaseMs();
  }

  /**
   * Compares the streams as they were at the last look with the cursors of now: those are a renewal old, and a node that
   * keeps up would seem to lag otherwise.
   */
  async look(): Promise<void> {
    const claims = await this.#parts.claims();
    const lags: Lag[] = [];
    for (const stream of this.#before) {
      for (const { nodeId, claim } of claims) {
        const cursor = claim.cursors[stream.name] ?? 0;
        const share = await this.#shareOf(stream, cursor);
        const unread = Math.max(0, stream.lastSequence - cursor);
        lags.push({ stream, nodeId, host: claim.host, unread, share });
      }
    }
    this.#saySlowest(lags, claims);
    for (const lag of lags) this.#say(lag);
    const held = new Set(claims.map(({ nodeId }) => nodeId.toString()));
    // Nothing is known any more of a node that is gone.
    for (const key of [...this.#said.keys()]) if (!held.has(key.split(" ")[0] ?? "")) this.#said.delete(key);
    this.#before = await this.#parts.streams();
  }

  async #shareOf(stream: StreamPromises, cursor: number): Promise<number> {
    const share = shareOfKept(stream, cursor);
    if (stream.maxAgeMs === Infinity || share >= 1 || stream.lastSequence <= cursor) return share;
    const storedAtMs = await this.#parts.storedAtMs(stream.name, cursor + 1);
    const ageMs = storedAtMs === undefined ? 0 : this.#parts.clock.nowMs() - storedAtMs;
    return Math.max(share, Math.min(1, ageMs / stream.maxAgeMs));
  }

  /** Once, as soon as another node is known: so that an operator sees how near the limits anyone is. */
  #saySlowest(lags: readonly Lag[], claims: readonly HeldClaim[]): void {
    const { nodeId, log } = this.#parts;
    if (this.#hasSaidSlowest || claims.every((held) => held.nodeId === nodeId)) return;
    this.#hasSaidSlowest = true;
    const slowest = lags.reduce((a, b) =>
      b.share > a.share || b.share === a.share && b.unread > a.unread ? b : a
    );
    log.info("the slowest of the nodes that hold a claim is this far behind", {
      ...fieldsOf(slowest),
      stored: slowest.stream.messages,
      nodes: claims.length,
    });
  }

  #say(lag: Lag): void {
    const { stream, nodeId, share } = lag;
    const key = `${nodeId} ${stream.name}`;
    const before = this.#said.get(key) ?? "near";
    const now = judgeLag(share, before);
    if (now === before) return;
    const fields = fieldsOf(lag);
    if (now === "near") {
      this.#said.delete(key);
      this.#parts.log.info("a node has caught up", fields);
      return;
    }
    this.#said.set(key, now);
    this.#parts.log.warn(LAG_TEXTS[now], fields);
  }
}

const LAG_TEXTS: Record<Exclude<LagState, "near">, string> = {
  "lagging": "a node lags: it has not read more than half of what a stream keeps",
  "left-behind": "a node was left behind: messages that it has not read are gone from a stream",
};

/** The next state of a node that has not read this share of what a stream keeps. */
export function judgeLag(share: number, before: LagState): LagState {
  if (share > 1) return "left-behind";
  if (share > LAGGING.from) return "lagging";
  return before !== "near" && share > LAGGING.until ? "lagging" : "near";
}

/** What part of the messages that a stream may keep is behind a cursor; above 1 where some of them are gone. */
export function shareOfKept(stream: StreamPromises, cursor: number): number {
  const { firstSequence, lastSequence, maxMessages, maxBytes, messages, bytes } = stream;
  if (lastSequence <= cursor) return 0;
  if (firstSequence > cursor + 1) return Infinity;
  const unread = lastSequence - cursor;
  const unreadBytes = messages === 0 ? 0 : unread * bytes / messages;
  return Math.min(1, Math.max(unread / maxMessages, unreadBytes / maxBytes));
}

/** Where a stream is on one server: of several, the others have it after a power cut of one. */
const SYNC_TEXT =
  "a power cut takes back what the broker has acknowledged and not synced to disk yet: it syncs every two minutes unless its sync_interval says otherwise";

/**
 * One line on copies and limits, one on power cuts where a stream is on one server, and a warning for each setting that loses
 * or holds up changes.
 */
export function sayPromises(
  streams: readonly StreamPromises[],
  { log, hasSnapshots }: { log: Log; hasSnapshots: boolean },
): void {
  const least = (values: readonly number[]) => Math.min(Infinity, ...values);
  const replicas = least(streams.map((stream) => stream.replicas));
  const text = replicas > 1
    ? "the broker keeps a copy of each stream on several servers, up to these limits"
    : "the broker keeps each stream on one server, up to these limits: a lost disk there loses what no node has";
  log.info(text, {
    streams: streams.length,
    replicas,
    messages: limitText(least(streams.map((stream) => stream.maxMessages))),
    bytes: limitText(least(streams.map((stream) => stream.maxBytes))),
    ageSeconds: limitText(least(streams.map((stream) => stream.maxAgeMs)) / 1000),
    whenFull: [...new Set(streams.map((stream) => stream.whenFull))].join(", or "),
    syncInterval: "not told to clients",
    lateNodes: hasSnapshots ? undefined : "cannot catch up",
  });
  if (streams.some((stream) => stream.replicas === 1 && stream.storage === "file")) log.info(SYNC_TEXT);
  const warn = (text: string, affected: readonly StreamPromises[]) => {
    const [first] = affected;
    if (first) log.warn(text, { stream: first.name, streams: affected.length });
  };
  warn(
    "a stream is kept in memory: a restart of the broker loses what no node has",
    streams.filter(({ storage }) => storage === "memory"),
  );
  warn(
    "a stream acknowledges messages before it writes them: a crash of the broker takes them back",
    streams.filter((stream) => stream.isAcknowledgedEarly),
  );
  warn(
    "a stream refuses messages when it is full: changes then wait in the nodes' databases",
    streams.filter(({ whenFull }) => whenFull === "refuses new ones"),
  );
}

function fieldsOf({ stream, nodeId, host, unread }: Lag): LogFields {
  return { node: nodeId, host, stream: stream.name, unread, kept: keptText(stream) };
}

function limitText(limit: number): string | number {
  return limit === Infinity ? "none" : limit;
}

function keptText({ maxMessages, maxBytes, maxAgeMs }: StreamPromises): string {
  const limits = [
    maxMessages === Infinity ? "" : `${maxMessages} messages`,
    maxBytes === Infinity ? "" : `${maxBytes} bytes`,
    maxAgeMs === Infinity ? "" : `${maxAgeMs / 1000} seconds`,
  ].filter((text) => text !== "");
  return limits.length === 0 ? "everything" : limits.join(", ");
}
