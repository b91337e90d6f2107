/**
 * From the change log to the streams: scans what was captured and publishes it, in order within a shard. An
 * acknowledgement is not the end of a change, its echo is: entries are settled where messages are applied.
 */
import type { ChangeSet } from "../db/capture/change_sets.ts";
import type { StoredChanges } from "../db/snapshot/snapshot_merge.ts";
import { errorText } from "../errors.ts";
import { backoffDelayMs } from "../runtime/backoff.ts";
import { Wakeup } from "../runtime/wakeup.ts";
import { boundsFor, ChangeScanner, type ChangeScannerParts } from "./change_scanner.ts";
import { CheckedPublisher, type CheckedPublisherParts } from "./checked_publisher.ts";
import { EchoBook } from "./echo_book.ts";
import { MessageSender, type MessageSenderParts } from "./message_sender.ts";
import { Router } from "./router.ts";
import { ShardPublishing } from "./shard_publishing.ts";
import type { WriteWatch } from "./write_watch.ts";

/** Messages of a shard whose acknowledgement is open; more only makes a failure more costly. The original has one. */
const MAX_IN_FLIGHT = { "batch": 16, "v0.6": 1 };
/** Between two looks whether the outcome of all messages is known. */
const DRAIN_SLEEP_MS = 5;
/** How long changes gather while the application writes: messages of few rows each cost every node more than the rows do. */
const GATHER_MS = 10;
const BACKOFF = { firstMs: 20, maxMs: 5000 };

/** What a publisher is made of; the parts that it makes itself are left out. */
export type PublisherParts =
  & Omit<ChangeScannerParts, "router">
  & Omit<MessageSenderParts, "echoes" | "onFailure" | "onDone">
  & Omit<CheckedPublisherParts, "router" | "scanner" | "sender">
  & {
    readonly application: WriteWatch;
    /** Whether a shard should not be published to now, of whose stream so many messages are kept; never if left out. */
    readonly isHeld?: (shard: number, maxMessages: number) => boolean;
  };

export class Publisher {
  readonly #parts: PublisherParts;
  readonly #shards: ShardPublishing[];
  readonly #wakeup = new Wakeup();
  readonly #echoes = new EchoBook();
  readonly #router: Router;
  readonly #scanner: ChangeScanner;
  readonly #sender: MessageSender;
  readonly #checked: CheckedPublisher;
  readonly #tasks = new Set<Promise<void>>();
  /** When the last scan came to the end of the change log; long ago where it did not. */
  #reachedEndAtMs = -Infinity;
  #signal: AbortSignal = new AbortController().signal;
  #failure: unknown;
  /** Before it runs there is nothing to recover: it begins with that. */
  #isRunning = false;

  constructor(parts: PublisherParts) {
    const { wireFormat } = parts.encoder.options;
    this.#parts = parts;
    this.#router = new Router(wireFormat, parts.streams.shards);
    this.#scanner = new ChangeScanner({ ...parts, router: this.#router });
    this.#sender = new MessageSender({
      ...parts,
      echoes: this.#echoes,
      onFailure: (state, { top }, error) => this.#noteFailure(state, top, error),
      onDone: () => this.wake(),
    });
    this.#checked = new CheckedPublisher({
      ...parts,
      router: this.#router,
      scanner: this.#scanner,
      sender: this.#sender,
    });
    this.#shards = Array.from(
      { length: parts.streams.shards },
      (_, i) => new ShardPublishing(i + 1, MAX_IN_FLIGHT[wireFormat]),
    );
  }

  get wireFormat(): "batch" | "v0.6" {
    return this.#parts.encoder.options.wireFormat;
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

  /** Looks whether another connection has committed, and returns whether it has. */
  look(): boolean {
    const hasNew = this.#takeCommits();
    // Changes that gather, or are held back, go when their time has come.
    if (this.#shards.some((state) => state.isBehind)) this.wake();
    return hasNew;
  }

  /** Whether another connection has committed: then every shard may have changes. */
  #takeCommits(): boolean {
    const hasNew = this.#parts.replica.hasNewCommits();
    if (hasNew) this.#shards.forEach((state) => state.isBehind = true);
    return hasNew;
  }

  /** To be called when there may be something to do, as when a cursor has moved. */
  wake(): void {
    this.#wakeup.ring();
  }

  /** Publishes again whatever is not settled of these tables, after their streams were read to the end. */
  republish(tables: readonly string[]): void {
    const armed = tables.flatMap((name) => this.#parts.replica.tables.byName(name) ?? []);
    this.#recover(armed.flatMap((table) => this.#router.shardsOf(table)));
  }

  /** Publishes again whatever is not settled of a shard, once its stream was read to the end. */
  recover(shard: number): void {
    this.#recover([shard]);
  }

  #recover(shards: readonly number[]): void {
    if (!this.#isRunning) return;
    const highest = this.#parts.replica.log.highestId();
    for (const state of this.#shards) if (shards.includes(state.shard)) this.#drain(state, highest);
  }

  /**
   * Stops publishing to a shard until its reader goes on, and waits until the outcome of all that was sent is known.
   * Returns the changes that are in the stream for certain and were not read back. Rejects with the signal's reason.
   */
  async halt(shard: number, signal: AbortSignal): Promise<StoredChanges[]> {
    this.#recover([shard]);
    const state = this.#shards[shard - 1];
    while (state !== undefined && state.phase !== "reading") {
      signal.throwIfAborted();
      await this.#parts.clock.sleep(DRAIN_SLEEP_MS, signal);
    }
    return state?.sent.stored() ?? [];
  }

  /** In the original's format: the log ids that a message of ours covers, undefined for others. */
  echoTopOf(shard: number, sequence: number, payload: Uint8Array): number | undefined {
    return this.#echoes.topOf(shard, sequence, payload);
  }

  /** To be called with own messages of this run that were read back. */
  noteEchoes(shard: number, numbers: readonly number[]): void {
    const state = this.#shards[shard - 1];
    for (const number of numbers) state?.noteReadBack(number);
  }

  /** To be called with every message that was applied. */
  noteApplied(shard: number, sequence: number): void {
    const number = this.#echoes.remove(shard, sequence);
    if (number !== undefined) this.#shards[shard - 1]?.noteReadBack(number);
  }

  /** Whether nothing is in flight. */
  get isIdle(): boolean {
    return this.#shards.every((state) => state.inFlight === 0);
  }

  async #drive(): Promise<void> {
    const due = this.#shards.filter(({ phase, shard }) => phase === "open" && this.#isImageDue(shard));
    if (due.length > 0) this.#recover(due.map((state) => state.shard));
    for (const state of this.#shards) {
      if (state.phase === "reading" && this.#parts.cursorOf(state.shard) >= state.readTo) {
        state.sent.clear();
        if (state.checkedTo > 0 || this.#isImageDue(state.shard)) {
          this.#start(() => this.#publishChecked(state));
        } else state.phase = "open";
        state.isBehind = true;
      }
    }
    while (!this.#signal.aborted) {
      this.#takeCommits();
      if (this.#isGathering()) return;
      const ready = this.#shards.filter((state) => isReady(state) && !this.#isHeld(state));
      if (ready.length === 0 || !await this.#publishOpen(ready)) return;
    }
  }

  /** Whether changes gather yet. */
  #isGathering(): boolean {
    const { application, clock } = this.#parts;
    return application.load() !== "light" && clock.nowMs() - this.#reachedEndAtMs < GATHER_MS;
  }

  #isHeld({ shard, maxMessages }: ShardPublishing): boolean {
    return this.#parts.isHeld?.(shard, maxMessages) ?? false;
  }

  #isImageDue(shard: number): boolean {
    return this.#checked.images.tablesDue(shard).length > 0;
  }

  /** Publishes what shards that are ready have behind their positions. False if that cannot be read now. */
  async #publishOpen(ready: ShardPublishing[]): Promise<boolean> {
    const { bounds, isSmall } = boundsFor({
      maxMessages: Math.min(...ready.map((state) => state.maxMessages)),
      tables: this.#parts.replica.tables.all().length,
      shards: this.#shards.length,
    });
    const result = this.#scanner.scan(ready, bounds);
    if (typeof result === "string") {
      await this.#scanner.clear(result, this.#signal);
      this.wake();
      return false;
    }
    this.#parts.statistics.captured += result.entries;
    // A small stream has no room for what would have to follow.
    const isWhole = result.isAtEnd || isSmall;
    this.#reachedEndAtMs = result.isAtEnd ? this.#parts.clock.nowMs() : -Infinity;
    for (const state of ready) {
      const sets = result.sets.filter((set) => set.shard === state.shard);
      if (sets.length > 0) this.#sendAll(state, sets, { top: result.to, isWhole });
      state.position = Math.max(state.position, result.to);
      state.isBehind = state.hasBacklog = !result.isAtEnd;
    }
    return true;
  }

  /**
   * Sends messages without waiting for each other; the original's one after the other. With one shard they tell that they
   * belong together: a scan to the end of the change log ends behind a whole transaction.
   */
  #sendAll(
    state: ShardPublishing,
    sets: readonly ChangeSet[],
    { top, isWhole }: { top: number; isWhole: boolean },
  ): void {
    const messages = sets.flatMap((set, i) => {
      const isFollowed = this.#shards.length === 1 ? !isWhole || i < sets.length - 1 : undefined;
      return this.#sender.encode(state, set, top, isFollowed);
    });
    state.inFlight += messages.length;
    if (this.#parts.encoder.options.wireFormat === "v0.6") {
      this.#start(() => this.#sender.sendInOrder(state, messages, this.#signal));
      return;
    }
    for (const message of messages) this.#start(async () => void await this.#sender.send(state, message));
  }

  async #publishChecked(state: ShardPublishing): Promise<void> {
    const signal = AbortSignal.any([this.#signal, state.beginChecking()]);
    if (!await this.#checked.publish(state, signal) || signal.aborted) return;
    state.phase = "open";
    state.checkedTo = 0;
    state.isBehind = true;
    this.wake();
  }

  #noteFailure(state: ShardPublishing, top: number, error: unknown): void {
    if (this.#signal.aborted) return;
    const level = state.isFailureSaid ? "debug" : "warn";
    state.isFailureSaid = true;
    this.#parts.log[level]("publishing failed, the changes go again", {
      shard: state.shard,
      reason: errorText(error),
    });
    state.failures++;
    // Checked messages are sent before the position moves past what they cover.
    this.#drain(state, Math.max(state.position, top));
  }

  #drain(state: ShardPublishing, highestId: number): void {
    state.drain(highestId);
    if (state.isAwaitingDrain) return;
    state.isAwaitingDrain = true;
    this.#start(() => this.#awaitDrained(state));
  }

  /** Waits for what is in flight, then finds out how far the stream must be read. */
  async #awaitDrained(state: ShardPublishing): Promise<void> {
    if (state.failures > 1) await this.#pause(state.failures);
    while (state.inFlight > 0 && !this.#signal.aborted) {
      await this.#parts.clock.sleep(DRAIN_SLEEP_MS, this.#signal);
    }
    for (let failures = 1; !this.#signal.aborted && state.phase === "draining"; failures++) {
      try {
        const { drains } = state;
        const { lastSequence, maxMessages } = await this.#parts.streams.describe(state.shard);
        // An answer from before the last drain may be of a stream that has lost its end since.
        if (drains === state.drains) state.beginReading(lastSequence, maxMessages);
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
  if (!state.isBehind || state.phase !== "open" || !state.hasRoom) return false;
  return state.inFlight === 0 || (state.hasBacklog && state.inFlight < state.maxInFlight);
}
