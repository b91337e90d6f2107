/**
 * Publishes what may be in the stream already: everything pending at a start, what was sent before a failure, backfill,
 * and table images. One message at a time, each on the condition that its table's subject still ends where this node has read it,
 * so that nothing is overwritten that this node does not know.
 */
import type { ArmedTable } from "../db/rows/armed_tables.ts";
import { errorText } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { backoffDelayMs } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeStreams } from "../stream/change_streams.ts";
import type { Replica } from "../db/replica.ts";
import { ImagePublisher } from "./image_publisher.ts";
import type { Router } from "./router.ts";
import type { ChangeScanner } from "./change_scanner.ts";
import type { MessageSender } from "./message_sender.ts";
import type { ShardPublishing } from "./shard_publishing.ts";
import type { Statistics } from "./statistics.ts";

/** Between two looks whether a message was read that is known to be there. */
const READ_SLEEP_MS = 5;
const BACKOFF = { firstMs: 20, maxMs: 5000 };

export interface CheckedPublisherParts {
  readonly scanner: ChangeScanner;
  readonly sender: MessageSender;
  readonly streams: ChangeStreams;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly statistics: Statistics;
  readonly replica: Replica;
  readonly router: Router;
  /** The cursor of a shard's stream. */
  readonly cursorOf: (shard: number) => number;
}

interface TablePart {
  readonly table: ArmedTable;
  /** Log id of the last change. */
  readonly upTo: number;
  readonly signal: AbortSignal;
}

export class CheckedPublisher {
  readonly images: ImagePublisher;

  constructor(readonly parts: CheckedPublisherParts) {
    const lastReadSequence = this.#lastReadSequence.bind(this);
    this.images = new ImagePublisher({ ...parts, lastReadSequence });
  }

  /** Publishes the doubtful entries of a shard. False when the shard has to drain, or the signal aborts, before the end. */
  async publish(state: ShardPublishing, signal: AbortSignal): Promise<boolean> {
    const { scanner, statistics } = this.parts;
    for (;;) {
      const plan = await scanner.scanSoon([state], signal);
      if (!plan || !isChecked(state, signal)) return false;
      for (const { table } of plan.sets) {
        if (!await this.#publishTable(state, { table, upTo: plan.to, signal })) return false;
      }
      state.position = plan.to;
      statistics.captured += plan.entries;
      if (plan.to < state.checkedTo && !plan.isAtEnd) continue;
      if (this.images.tablesDue(state.shard).length === 0) return isChecked(state, signal);
      if (!await this.images.publishNext(state, signal)) return false;
    }
  }

  /** Publishes a table's changes up to a log id, trying again for as long as others write to the table and are faster. */
  async #publishTable(state: ShardPublishing, part: TablePart): Promise<boolean> {
    const { clock, random } = this.parts;
    for (;;) {
      const outcome = await this.#tryTable(state, part);
      if (outcome !== "refused") return outcome;
      // Who waits for long is only beaten more often; the jitter parts two that beat each other.
      await clock.sleep(random() * READ_SLEEP_MS, part.signal);
    }
  }

  /**
   * Publishes a table's changes with images from after the moment whose sequence is expected. "refused" if another message
   * came between: the rest must go with fresh images. False if the shard has to drain, or the signal aborts.
   */
  async #tryTable(
    state: ShardPublishing,
    { table, upTo, signal }: TablePart,
  ): Promise<boolean | "refused"> {
    const { scanner, sender } = this.parts;
    const isOriginal = sender.parts.encoder.options.wireFormat === "v0.6";
    let expected = isOriginal ? undefined : await this.#lastReadSequence(state, table.schema.name, signal);
    const again = await scanner.scanSoon([state], signal, { upTo, maxBytes: Infinity });
    if (!again || !isChecked(state, signal)) return false;
    const set = again.sets.find((candidate) => candidate.table.id === table.id);
    for (const message of set ? sender.encode(state, set, again.to) : []) {
      if (!await sender.awaitRoom(state, "checked", signal)) return false;
      state.inFlight++;
      const sequence = await sender.send(state, message, expected);
      if (sequence === "refused") return isChecked(state, signal) ? "refused" : false;
      if (sequence === undefined) return false;
      if (expected !== undefined) expected = sequence;
    }
    return isChecked(state, signal);
  }

  /** The last sequence on a table's subject, once this node has read that far. */
  async #lastReadSequence(state: ShardPublishing, table: string, signal: AbortSignal): Promise<number> {
    const { streams, clock, random, log, cursorOf } = this.parts;
    for (let failures = 1; isChecked(state, signal); failures++) {
      try {
        const last = await streams.lastSequenceOfTable(state.shard, table);
        if (last <= cursorOf(state.shard)) return last;
        await clock.sleep(READ_SLEEP_MS, signal);
      } catch (error) {
        log.debug("cannot ask for the last sequence of a table", { table, reason: errorText(error) });
        await clock.sleep(backoffDelayMs(failures, { ...BACKOFF, random }), signal);
      }
    }
    return 0;
  }
}

function isChecked(state: ShardPublishing, signal: AbortSignal): boolean {
  return state.phase === "checked" && !signal.aborted;
}
