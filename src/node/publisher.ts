/**
 * From the change log to the streams: scans what was captured and publishes it, in order within a shard. An
 * acknowledgement is not the end of a change, its echo is: entries are settled where messages are applied.
 */
import type { ChangeSet, ScanResult } from "../db/capture/change_scan.ts";
import type { ArmedTable } from "../db/rows/armed_tables.ts";
import type { Replica } from "../db/replica.ts";
import { DatabaseBusyError, errorText, type MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { backoffDelayMs } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import { Wakeup } from "../runtime/wakeup.ts";
import type { ChangeStreams } from "../stream/change_streams.ts";
import { EchoBook } from "./echo_book.ts";
import type { MessageEncoder, OutgoingMessage } from "./message_encoder.ts";
import { Router } from "./router.ts";
import { type PublishingPhase, ShardPublishing } from "./shard_publishing.ts";
import type { Statistics } from "./statistics.ts";

/** Bounds of one scan. */
const SCAN_ENTRIES = 1000;
const SCAN_BYTES = 2 * 1024 * 1024;
/** Messages of a shard whose acknowledgement is open; more only makes a failure more costly. The original has one. */
const MAX_IN_FLIGHT = { "batch": 16, "v0.6": 1 };
/** Between two looks whether own messages were read back. */
const ROOM_SLEEP_MS = 5;
const BACKOFF = { firstMs: 20, maxMs: 5000 };

interface ScanBounds {
  readonly upTo: number;
  readonly maxBytes: number;
}

const DEFAULT_BOUNDS: ScanBounds = { upTo: Infinity, maxBytes: SCAN_BYTES };

/** Why a scan cannot be made now. */
type ScanObstacle = "new schema" | "locked";

export interface PublisherParts {
  readonly replica: Replica;
  readonly streams: ChangeStreams;
  readonly encoder: MessageEncoder;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly statistics: Statistics;
  /** The cursor of a shard's stream. */
  readonly cursorOf: (shard: number) => number;
  /** Arms the tables again; called when a scan finds another schema. */
  readonly onSchemaChange: () => Promise<void>;
  /** Called when a scan found entries that a write transaction has to remove. */
  readonly onFalseVictims: () => void;
}

export class Publisher {
  readonly #parts: PublisherParts;
  readonly #shards: ShardPublishing[];
  readonly #wakeup = new Wakeup();
  readonly #echoes = new EchoBook();
  readonly #router: Router;
  /** Whether a scan may find more although nothing was committed since the last. */
  #isBehind = true;
  #tasks = new Set<Promise<void>>();
  #signal: AbortSignal = new AbortController().signal;
  #failure: unknown;
  /** Before it runs there is nothing to recover: it begins with that. */
  #isRunning = false;

  constructor(parts: PublisherParts) {
    this.#parts = parts;
    this.#router = new Router(parts.encoder.options.wireFormat, parts.streams.shards);
    this.#shards = Array.from(
      { length: parts.streams.shards },
      (_, i) => new ShardPublishing(i + 1, MAX_IN_FLIGHT[parts.encoder.options.wireFormat]),
    );
  }

  /** Publishes until the signal aborts. Throws where the database or this program is not sound. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.wake());
    this.#isRunning = true;
    this.#recover(this.#shards.map((state) => state.shard));
    while (!signal.aborted) {
      await this.#drive();
      if (this.#failure !== undefined) throw this.#failure;
      await this.#wakeup.wait();
    }
    await Promise.all(this.#tasks);
  }

  /** To be called when the database may have changed, or a cursor has moved. */
  wake(): void {
    this.#wakeup.ring();
  }

  /** Publishes again whatever is not settled of these tables, after their streams were read to the end. */
  republish(tables: readonly string[]): void {
    this.#recover(tables.flatMap((table) => this.#router.shardsOf(table)));
  }

  #recover(shards: readonly number[]): void {
    if (!this.#isRunning) return;
    const highest = this.#parts.replica.log.highestId();
    for (const state of this.#shards) if (shards.includes(state.shard)) this.#drain(state, highest);
  }

  /** In the original's format: the log ids that a message of ours covers, undefined for others. */
  echoTopOf(shard: number, sequence: number, payload: Uint8Array): number | undefined {
    return this.#echoes.topOf(shard, sequence, payload);
  }

  /** To be called with own messages of this run that were read back. */
  noteEchoes(shard: number, numbers: readonly number[]): void {
    const state = this.#shards[shard - 1];
    for (const number of numbers) state?.unread.delete(number);
  }

  /** To be called with every message that was applied. */
  noteApplied(shard: number, sequence: number): void {
    const number = this.#echoes.remove(shard, sequence);
    if (number !== undefined) this.#shards[shard - 1]?.unread.delete(number);
  }

  /** Whether nothing is in flight. */
  get isIdle(): boolean {
    return this.#shards.every((state) => state.inFlight === 0);
  }

  async #drive(): Promise<void> {
    for (const state of this.#shards) {
      if (state.phase === "reading" && this.#parts.cursorOf(state.shard) >= state.readTo) {
        state.phase = state.checkedTo > 0 ? "checked" : "open";
        if (state.phase === "checked") this.#start(() => this.#publishChecked(state));
        this.#isBehind = true;
      }
    }
    while ((this.#parts.replica.hasNewCommits() || this.#isBehind) && !this.#signal.aborted) {
      this.#isBehind = false;
      const ready = this.#shards.filter((state) => isReady(state));
      if (ready.length === 0 || !await this.#publishOpen(ready)) {
        this.#isBehind = true;
        return;
      }
    }
  }

  /** Publishes what the ready shards have behind their positions. False if there may be more that cannot go now. */
  async #publishOpen(ready: ShardPublishing[]): Promise<boolean> {
    const result = this.#scan(ready);
    if (typeof result === "string") {
      await this.#clear(result);
      return false;
    }
    this.#parts.statistics.captured += result.entries;
    for (const state of ready) {
      state.position = Math.max(state.position, result.to);
      state.hasBacklog = !result.isAtEnd;
      const sets = result.sets.filter((set) => set.shard === state.shard);
      if (sets.length > 0) this.#sendAll(state, sets, result.to);
    }
    if (!result.isAtEnd) this.#isBehind = true;
    return ready.length === this.#shards.length;
  }

  /** Sends messages without waiting for each other; the original's one after the other. */
  #sendAll(state: ShardPublishing, sets: readonly ChangeSet[], top: number): void {
    const messages = sets.flatMap((set) => this.#encode(state, set, top));
    state.inFlight += messages.length;
    if (this.#parts.encoder.options.wireFormat === "v0.6") {
      this.#start(() => this.#sendInOrder(state, messages));
      return;
    }
    for (const message of messages) this.#start(async () => void await this.#send(state, message));
  }

  async #sendInOrder(state: ShardPublishing, messages: readonly OutgoingMessage[]): Promise<void> {
    for (const [i, message] of messages.entries()) {
      if (!await this.#hasRoomFor(state, "open")) {
        state.inFlight -= messages.length - i;
        return;
      }
      if (await this.#send(state, message) === undefined) {
        state.inFlight -= messages.length - i - 1;
        return;
      }
    }
  }

  /** Waits until enough was read back; false when the shard leaves the phase before that. */
  async #hasRoomFor(state: ShardPublishing, phase: PublishingPhase): Promise<boolean> {
    while (!state.hasRoom && state.phase === phase && !this.#signal.aborted) {
      await this.#parts.clock.sleep(ROOM_SLEEP_MS, this.#signal);
    }
    return state.phase === phase && !this.#signal.aborted;
  }

  /** Sends what may have been sent before: one message at a time, only onto what this node has read. */
  async #publishChecked(state: ShardPublishing): Promise<void> {
    while (state.phase === "checked" && !this.#signal.aborted) {
      const plan = await this.#scanSoon(state);
      if (!plan || state.phase !== "checked") return;
      for (const { table } of plan.sets) if (!await this.#publishTableChecked(state, table, plan.to)) return;
      state.position = plan.to;
      this.#parts.statistics.captured += plan.entries;
      if (plan.to >= state.checkedTo || plan.isAtEnd) break;
    }
    if (state.phase !== "checked") return;
    state.phase = "open";
    state.checkedTo = 0;
    this.#isBehind = true;
    this.wake();
  }

  /** Publishes a table's changes up to a log id. False when that did not work: the shard drains. */
  async #publishTableChecked(state: ShardPublishing, table: ArmedTable, upTo: number): Promise<boolean> {
    const isOriginal = this.#parts.encoder.options.wireFormat === "v0.6";
    let expected = isOriginal ? undefined : await this.#lastReadSequence(state, table.schema.name);
    if (state.phase !== "checked" || this.#signal.aborted) return false;
    const again = await this.#scanSoon(state, { upTo, maxBytes: Infinity });
    if (!again || state.phase !== "checked") return false;
    const set = again.sets.find((candidate) => candidate.table.id === table.id);
    if (!set) return true;
    for (const message of this.#encode(state, set, again.to)) {
      if (!await this.#hasRoomFor(state, "checked")) return false;
      state.inFlight++;
      const sequence = await this.#send(state, message, expected);
      if (sequence === undefined) return false;
      if (expected !== undefined) expected = sequence;
    }
    return true;
  }

  /** The last sequence on a table's subject, once this node has read that far. */
  async #lastReadSequence(state: ShardPublishing, table: string): Promise<number> {
    for (let failures = 1; !this.#signal.aborted && state.phase === "checked"; failures++) {
      try {
        const last = await this.#parts.streams.lastSequenceOfTable(state.shard, table);
        if (last <= this.#parts.cursorOf(state.shard)) return last;
        await this.#parts.clock.sleep(5, this.#signal);
      } catch (error) {
        this.#parts.log.debug("cannot ask for the last sequence of a table", {
          table,
          reason: errorText(error),
        });
        await this.#pause(failures);
      }
    }
    return 0;
  }

  #encode(state: ShardPublishing, set: ChangeSet, top: number): OutgoingMessage[] {
    const { encoder, streams: { maxPayloadBytes }, log } = this.#parts;
    const onRefused = (error: MarmotError) => {
      log.error("cannot publish a row, it waits until it is changed", {
        table: set.table.schema.name,
        reason: error.message,
        hint: error.hint,
      });
    };
    return encoder.encode(set, top, { maxPayloadBytes, nextNumber: state.nextNumber, onRefused });
  }

  /** Sends one message, which counts as in flight already. Returns its sequence, or undefined when the shard has to drain. */
  async #send(
    state: ShardPublishing,
    message: OutgoingMessage,
    expected?: number,
  ): Promise<number | undefined> {
    const { streams, statistics } = this.#parts;
    const isOriginal = message.format === null;
    if (isOriginal) this.#echoes.begin(state.shard, message);
    state.unread.add(message.number);
    try {
      const sequence = await streams.publish({
        shard: state.shard,
        table: message.table,
        format: message.format,
        payload: message.payload,
        ...(expected === undefined ? {} : { expectedLastSubjectSequence: expected }),
      });
      if (isOriginal) this.#echoes.acknowledge(state.shard, sequence);
      state.failures = 0;
      statistics.publishedMessages++;
      statistics.publishedEvents += message.events;
      return sequence;
    } catch (error) {
      statistics.publishFailures++;
      this.#noteFailure(state, error);
      return undefined;
    } finally {
      state.inFlight--;
      this.wake();
    }
  }

  #noteFailure(state: ShardPublishing, error: unknown): void {
    if (this.#signal.aborted) return;
    const level = state.failures === 0 && state.phase === "open" ? "warn" : "debug";
    this.#parts.log[level]("publishing failed, the changes go again", {
      shard: state.shard,
      reason: errorText(error),
    });
    if (state.phase !== "draining") this.#drain(state, state.position);
  }

  #drain(state: ShardPublishing, highestId: number): void {
    state.drain(highestId);
    if (state.isAwaitingDrain) return;
    state.isAwaitingDrain = true;
    this.#start(() => this.#awaitDrained(state));
  }

  /** Waits for what is in flight, then finds out how far the stream must be read. */
  async #awaitDrained(state: ShardPublishing): Promise<void> {
    state.failures++;
    if (state.failures > 1) await this.#pause(state.failures);
    while (state.inFlight > 0 && !this.#signal.aborted) await this.#parts.clock.sleep(5, this.#signal);
    for (let failures = 1; !this.#signal.aborted && state.phase === "draining"; failures++) {
      try {
        const { lastSequence, maxMessages } = await this.#parts.streams.describe(state.shard);
        state.beginReading(lastSequence, maxMessages);
      } catch (error) {
        this.#parts.log.debug("cannot describe a stream", { shard: state.shard, reason: errorText(error) });
        await this.#pause(failures);
      }
    }
    // In the same moment as the end of draining: who drains the shard from now on must start this anew.
    state.isAwaitingDrain = false;
    this.#echoes.forget(state.shard);
    this.wake();
  }

  #pause(failures: number): Promise<void> {
    const { clock, random } = this.#parts;
    return clock.sleep(backoffDelayMs(failures, { ...BACKOFF, random }), this.#signal);
  }

  /** Scans, waiting for what is in the way: another schema, a locked database. Undefined when the signal aborts. */
  async #scanSoon(state: ShardPublishing, bounds?: ScanBounds): Promise<ScanResult | undefined> {
    while (!this.#signal.aborted) {
      const result = this.#scan([state], bounds);
      if (typeof result !== "string") return result;
      await this.#clear(result);
    }
    return undefined;
  }

  /** Scans at once: nothing may happen to a shard between a scan of it and the sending of what was found. */
  #scan(
    ready: readonly ShardPublishing[],
    { upTo, maxBytes }: ScanBounds = DEFAULT_BOUNDS,
  ): ScanResult | ScanObstacle {
    try {
      const result = this.#parts.replica.scan({
        after: new Map(ready.map((state) => [state.shard, state.position])),
        upTo,
        shardOf: this.#router.shardOf,
        maxEntries: SCAN_ENTRIES,
        maxBytes,
      });
      if (result?.hasFalseVictims) this.#parts.onFalseVictims();
      return result ?? "new schema";
    } catch (error) {
      if (error instanceof DatabaseBusyError) return "locked";
      throw error;
    }
  }

  async #clear(obstacle: ScanObstacle): Promise<void> {
    if (obstacle === "new schema") await this.#parts.onSchemaChange();
    else await this.#parts.clock.sleep(2 + 8 * this.#parts.random(), this.#signal);
    this.wake();
  }

  /** Runs work beside the loop; its failure ends the loop. */
  #start(work: () => Promise<void>): void {
    const task = work().catch((error) => {
      this.#failure ??= error;
      this.wake();
    }).finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }
}

/** At once when nothing is in flight; else what has gathered waits, unless there is a backlog. */
function isReady(state: ShardPublishing): boolean {
  if (state.phase !== "open" || !state.hasRoom) return false;
  return state.inFlight === 0 || (state.hasBacklog && state.inFlight < state.maxInFlight);
}
