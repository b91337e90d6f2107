/** Scans the change log for shards, and deals with what is in the way of a scan. */
import type { ScanResult } from "../db/capture/change_scan.ts";
import type { Replica } from "../db/replica.ts";
import { DatabaseBusyError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import { TARGET_BYTES } from "./message_encoder.ts";
import type { Router } from "./router.ts";
import type { ShardPublishing } from "./shard_publishing.ts";

const LOCKED_SLEEP_MS = { min: 2, max: 10 };

export interface ScanBounds {
  /** Entries beyond this log id are left alone. */
  readonly upTo: number;
  readonly maxBytes: number;
  readonly maxEntries: number;
}

export const DEFAULT_BOUNDS: ScanBounds = { upTo: Infinity, maxBytes: 2 * 1024 * 1024, maxEntries: 1000 };
/** With one shard a scan is to end behind a whole transaction: at the end of the log. */
const WHOLE_BOUNDS: ScanBounds = { upTo: Infinity, maxBytes: 4 * 1024 * 1024, maxEntries: 5000 };
/** More messages than a scan within these bounds makes. */
const MANY_MESSAGES = 32;

/**
 * The bounds of a scan whose messages are sent at once, to streams that keep so many: it must fit beside half of what they
 * keep, which may be unread already. With small ones it takes less than a whole transaction.
 */
export function boundsFor(
  { maxMessages, tables, shards }: { maxMessages: number; tables: number; shards: number },
): { bounds: ScanBounds; isSmall: boolean } {
  const messages = Math.max(1, Math.floor(maxMessages / 8));
  if (messages >= MANY_MESSAGES) {
    return { bounds: shards === 1 ? WHOLE_BOUNDS : DEFAULT_BOUNDS, isSmall: false };
  }
  // Each table has a message of its own.
  const maxEntries = tables <= messages ? DEFAULT_BOUNDS.maxEntries : messages;
  const maxBytes = Math.min(DEFAULT_BOUNDS.maxBytes, messages * TARGET_BYTES);
  return { bounds: { upTo: Infinity, maxBytes, maxEntries }, isSmall: true };
}

/** Why a scan cannot be made now. */
export type ScanObstacle = "new schema" | "locked";

export interface ChangeScannerParts {
  readonly replica: Replica;
  readonly router: Router;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  /** Arms the tables again. */
  readonly onSchemaChange: () => Promise<void>;
  /** Called when a scan found entries that a write transaction has to remove. */
  readonly onFalseVictims: () => void;
}

export class ChangeScanner {
  /** Tables of which it was said that backfill waits. */
  readonly #held = new Set<string>();

  constructor(readonly parts: ChangeScannerParts) {}

  /** Scans at once: nothing may happen to a shard between a scan of it and the sending of what was found. */
  scan(
    shards: readonly ShardPublishing[],
    { upTo, maxBytes, maxEntries }: ScanBounds = DEFAULT_BOUNDS,
  ): ScanResult | ScanObstacle {
    const { replica, router, onFalseVictims } = this.parts;
    try {
      const result = replica.scan({
        after: new Map(shards.map((state) => [state.shard, state.position])),
        upTo,
        shardOf: router.shardOf,
        shardsOf: router.shardsOf,
        maxEntries,
        maxBytes,
      });
      if (result?.hasFalseVictims) onFalseVictims();
      for (const { schema } of result?.heldBack ?? []) this.#sayHeld(schema.name);
      return result ?? "new schema";
    } catch (error) {
      if (error instanceof DatabaseBusyError) return "locked";
      throw error;
    }
  }

  #sayHeld(table: string): void {
    if (this.#held.has(table)) return;
    this.#held.add(table);
    this.parts.log.warn("rows of a parked table wait: they are published once its events were applied", {
      table,
    });
  }

  /** Deals with an obstacle; then a scan may succeed. */
  async clear(obstacle: ScanObstacle, signal: AbortSignal): Promise<void> {
    const { clock, random, onSchemaChange } = this.parts;
    if (obstacle === "new schema") return await onSchemaChange();
    await clock.sleep(LOCKED_SLEEP_MS.min + random() * (LOCKED_SLEEP_MS.max - LOCKED_SLEEP_MS.min), signal);
  }

  /** Scans as soon as nothing is in the way. Undefined when the signal aborts before. */
  async scanSoon(
    shards: readonly ShardPublishing[],
    signal: AbortSignal,
    bounds?: ScanBounds,
  ): Promise<ScanResult | undefined> {
    while (!signal.aborted) {
      const result = this.scan(shards, bounds);
      if (typeof result !== "string") return result;
      await this.clear(result, signal);
    }
    return undefined;
  }
}
