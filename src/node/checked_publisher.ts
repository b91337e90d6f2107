/**
 * Publishes what may be in the stream already: everything pending at a start, what was sent before a failure, backfill,
 * and table images. One message at a time, each on the condition that its table's subject still ends where this node has read it,
 * so that nothing is overwritten that this node does not know.
 */
import type { ChangeSet } from "../db/capture/change_sets.ts";
import { errorText } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { backoffDelayMs } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeStreams } from "../stream/change_streams.ts";
import type { Replica } from "../db/replica.ts";
import { ImagePublisher } from "./image_publisher.ts";
import type { Router } from "./router.ts";
import { type ChangeScanner, DEFAULT_BOUNDS } from "./change_scanner.ts";
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

/** Where the subjects of tables end, by table id: sequences that this node has read, or written itself. */
type Ends = Map<number, number>;

/** Tables that the change log names, as long as it has no new entry and the tables are armed as they were. */
interface Logged {
  readonly highestId: number;
  readonly schema: number;
  readonly tables: ReadonlySet<number>;
}

interface Part {
  readonly set: ChangeSet;
  /** Log id of the last change. */
  readonly upTo: number;
  readonly ends: Ends;
  readonly signal: AbortSignal;
}

export class CheckedPublisher {
  readonly images: ImagePublisher;
  #logged: Logged | undefined;

  constructor(readonly parts: CheckedPublisherParts) {
    const lastReadSequence = this.#lastReadSequence.bind(this);
    this.images = new ImagePublisher({ ...parts, lastReadSequence });
  }

  /** Publishes the doubtful entries of a shard. False when the shard has to drain, or the signal aborts, before the end. */
  async publish(state: ShardPublishing, signal: AbortSignal): Promise<boolean> {
    const { scanner, statistics, clock } = this.parts;
    const ends: Ends = new Map();
    this.#passOver(state);
    for (;;) {
      const plan = await scanner.scanSoon([state], signal);
      if (!plan || !isChecked(state, signal)) return false;
      for (const set of plan.sets) {
        if (!await this.#publishSet(state, { set, upTo: plan.to, ends, signal })) return false;
      }
      state.position = plan.to;
      statistics.captured += plan.entries;
      if (plan.to < state.checkedTo && !plan.isAtEnd) {
        // A scan that finds nothing for the shard waits for nobody.
        await clock.turn();
        continue;
      }
      if (this.images.tablesDue(state.shard).length === 0) return isChecked(state, signal);
      if (!await this.images.publishNext(state, signal)) return false;
    }
  }

  /** A shard of whose tables the log has nothing need not look through all of it. */
  #passOver(state: ShardPublishing): void {
    const { replica, router } = this.parts;
    const { highestId, tables } = this.#logged = this.#readLogged();
    const hasEntries = replica.tables.all().some((table) =>
      tables.has(table.id) && router.shardsOf(table).includes(state.shard)
    );
    if (!hasEntries) state.position = Math.max(state.position, highestId);
  }

  #readLogged(): Logged {
    const { log, armedVersion: schema } = this.parts.replica;
    const highestId = log.highestId();
    if (this.#logged?.highestId === highestId && this.#logged.schema === schema) return this.#logged;
    return { highestId, schema, tables: log.tableIds() };
  }

  /** Publishes a table's changes up to a log id, trying again for as long as others write to the table and are faster. */
  async #publishSet(state: ShardPublishing, part: Part): Promise<boolean> {
    const { clock, random } = this.parts;
    const end = part.ends.get(part.set.table.id);
    let outcome = end === undefined ? "refused" : await this.#send(state, part, end);
    for (let tries = 0; outcome === "refused"; tries++) {
      // Who waits for long is only beaten more often; the jitter parts two that beat each other.
      if (tries > 0) await clock.sleep(random() * READ_SLEEP_MS, part.signal);
      outcome = await this.#tryAnew(state, part);
    }
    return outcome;
  }

  /** Publishes with images from after the moment whose sequence is expected. */
  async #tryAnew(state: ShardPublishing, part: Part): Promise<boolean | "refused"> {
    const { scanner, sender } = this.parts;
    const { set: { table }, upTo, signal } = part;
    const isOriginal = sender.parts.encoder.options.wireFormat === "v0.6";
    const expected = isOriginal ? undefined : await this.#lastReadSequence(state, table.firstName, signal);
    const again = await scanner.scanSoon([state], signal, {
      ...DEFAULT_BOUNDS,
      upTo,
      maxBytes: Infinity,
    });
    if (!again || !isChecked(state, signal)) return false;
    const set = again.sets.find((candidate) => candidate.table.id === table.id);
    return set ? await this.#send(state, { ...part, set, upTo: again.to }, expected) : true;
  }

  /**
   * Sends a set. "refused" if another message came between: the rest must go with fresh images. False if the shard has to
   * drain, or the signal aborts.
   */
  async #send(
    state: ShardPublishing,
    { set, upTo, ends, signal }: Part,
    expected: number | undefined,
  ): Promise<boolean | "refused"> {
    const { sender } = this.parts;
    for (const message of sender.encode(state, set, upTo)) {
      if (!await sender.awaitRoom(state, "checked", signal)) return false;
      state.inFlight++;
      const sequence = await sender.send(state, message, expected);
      if (sequence === "refused") return isChecked(state, signal) ? "refused" : false;
      if (sequence === undefined) return false;
      if (expected !== undefined) ends.set(set.table.id, expected = sequence);
    }
    return isChecked(state, signal);
  }

  /** The last sequence on the subject of a table's first name, once this node has read that far. */
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
