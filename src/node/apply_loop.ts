/**
 * From the streams to the tables: takes what has arrived on all shards and applies it in bounded transactions. A
 * locked database is waited for without blocking the event loop; the cursors stay until then.
 */
import type { IncomingMessage } from "../db/apply/applier.ts";
import type { ApplyOutcome } from "../db/apply/apply_outcome.ts";
import { decideOnApplyError } from "../db/apply/apply_policy.ts";
import { BacklogError } from "../errors.ts";
import type { Replica } from "../db/replica.ts";
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import { Wakeup } from "../runtime/wakeup.ts";
import type { StoredMessage } from "../stream/change_streams.ts";
import { ApplyBarrier } from "./apply_barrier.ts";
import { LockWatch } from "./lock_watch.ts";
import { GROUP_WAIT_MS, MessageGroups } from "./message_groups.ts";
import type { Publisher } from "./publisher.ts";
import type { Statistics } from "./statistics.ts";
import type { WriteLoad, WriteWatch } from "./write_watch.ts";

/** Bounds of one write transaction: how long the application may have to wait for it. */
const TRANSACTION = { rows: 1000, milliseconds: 15 };
/** The same while the application writes. */
const SHARED_TRANSACTION = { rows: 500, milliseconds: 5 };
/** How long messages gather while the application writes: whoever finds the database locked sleeps, longer than most transactions take. */
const GATHER_MS: Readonly<Record<WriteLoad, number>> = { "light": 0, "busy": 20, "flat out": 50 };
/** Messages of a shard that wait; beyond that its reader stops reading. */
const MAX_QUEUED = 512;
const MAX_QUEUED_BYTES = 16 * 1024 * 1024;
const BUSY_SLEEP_MS = { min: 1, max: 8 };

export interface ApplyLoopParts {
  readonly replica: Replica;
  readonly publisher: Publisher;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly statistics: Statistics;
  readonly application: WriteWatch;
  readonly onSchemaChange: () => Promise<void>;
  /** How many streams there are. */
  readonly shards: number;
}

interface Queue {
  readonly stream: string;
  readonly createdAt: string;
  messages: StoredMessage[];
  bytes: number;
  /** Whether a message stands at its head that only a newer Marmot can read. */
  isStopped: boolean;
  /** Which messages are to be applied together; undefined where there are several shards. */
  readonly groups: MessageGroups | undefined;
}

interface Taken {
  readonly queue: Queue;
  readonly message: StoredMessage;
}

export class ApplyLoop {
  readonly #parts: ApplyLoopParts;
  readonly #queues = new Map<number, Queue>();
  readonly #wakeup = new Wakeup();
  /** Holds the loop at a point of the streams. */
  readonly barrier = new ApplyBarrier(() => this.#wakeup.ring());
  readonly #room = new Map<number, () => void>();
  /** Streams that were said to be stopped. */
  readonly #stopped = new Set<string>();
  readonly #lockWatch: LockWatch;
  /** Queues that are looked at again when the rest of a group is overdue. */
  readonly #expiring = new Set<Queue>();
  #signal: AbortSignal = new AbortController().signal;
  #turn = 0;
  #isUntidy = false;
  /** Whether a message waits that cannot be applied before all captured changes are known. */
  #needsBacklog = false;

  constructor(parts: ApplyLoopParts) {
    this.#parts = parts;
    this.#lockWatch = new LockWatch(parts);
  }

  /** Begins a shard anew, at its cursor: what waited of it is dropped. */
  begin(shard: number, { stream, createdAt }: { stream: string; createdAt: string }): void {
    const groups = this.#parts.shards === 1 ? new MessageGroups() : undefined;
    this.#queues.set(shard, { stream, createdAt, messages: [], bytes: 0, isStopped: false, groups });
  }

  /** Forgets what waits of a shard, until it begins anew. */
  drop(shard: number): void {
    this.#stopped.delete(this.#queues.get(shard)?.stream ?? "");
    this.#queues.delete(shard);
    this.#room.get(shard)?.();
    this.#room.delete(shard);
  }

  /** Takes a message; resolves when there is room for more. */
  enqueue(message: StoredMessage): Promise<void> | undefined {
    const queue = this.#queues.get(message.shard);
    if (!queue) return undefined;
    queue.messages.push(message);
    queue.bytes += message.payload.length;
    queue.groups?.note(message, this.#parts.clock.nowMs());
    if (queue.groups && queue.groups.waiting > 0) this.#expireLater(queue);
    this.#wakeup.ring();
    if (hasRoom(queue)) return undefined;
    return new Promise((resolve) => this.#room.set(message.shard, resolve));
  }

  /** Lets a queue go on when what belongs to its last messages does not come. */
  #expireLater(queue: Queue): void {
    if (this.#expiring.has(queue)) return;
    this.#expiring.add(queue);
    const { clock } = this.#parts;
    void clock.sleep(GROUP_WAIT_MS, this.#signal).then(() => {
      this.#expiring.delete(queue);
      const last = queue.messages.at(-1);
      if (!last || !queue.groups || this.#signal.aborted) return;
      queue.groups.expire(last, clock.nowMs());
      if (queue.groups.waiting > 0) this.#expireLater(queue);
      this.#wakeup.ring();
    });
  }

  /** Asks for a write transaction, with messages or without: it removes what is done from the change log. */
  tidy(): void {
    this.#isUntidy = true;
    this.#wakeup.ring();
  }

  /** How many messages wait to be applied. */
  get queued(): number {
    let count = 0;
    for (const queue of this.#queues.values()) if (!queue.isStopped) count += readyOf(queue);
    return count;
  }

  /** Applies what comes until the signal aborts. Throws where the database or this program is not sound. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = () => {
      this.#wakeup.ring();
      for (const resolve of this.#room.values()) resolve();
    };
    signal.addEventListener("abort", stop);
    this.#signal = signal;
    while (!signal.aborted) {
      if (!this.#hasApplicable() && !this.#isUntidy) await this.#wakeup.wait();
      else await this.#applySome(signal);
    }
  }

  async #applySome(signal: AbortSignal): Promise<void> {
    const { replica, publisher, application, clock, random, onSchemaChange } = this.#parts;
    const taken: Taken[] = [];
    const isShared = application.isWriting();
    const beganMs = clock.nowMs();
    let outcome: ApplyOutcome | undefined;
    try {
      if (this.#needsBacklog) await this.#loadBacklog(signal);
      outcome = replica.apply(this.#take(taken), isShared ? SHARED_TRANSACTION : TRANSACTION);
    } catch (error) {
      if (decideOnApplyError(error) !== "retry") throw error;
      if (error instanceof BacklogError) {
        this.#needsBacklog = true;
        return;
      }
      this.#lockWatch.noteBusy();
      await clock.sleep(BUSY_SLEEP_MS.min + random() * (BUSY_SLEEP_MS.max - BUSY_SLEEP_MS.min), signal);
      return;
    }
    this.#lockWatch.noteFree();
    if (!outcome) return await onSchemaChange();
    this.#isUntidy = false;
    this.#needsBacklog = outcome.needsBacklog;
    for (const { queue, message } of taken.slice(0, outcome.messages)) {
      if (queue.messages[0] !== message) continue;
      queue.messages.shift();
      queue.bytes -= message.payload.length;
      queue.groups?.forget(message);
      publisher.noteApplied(message.shard, message.sequence);
    }
    this.#note(outcome);
    for (const [shard, resolve] of this.#room) {
      const queue = this.#queues.get(shard);
      if (queue && !hasRoom(queue)) continue;
      this.#room.delete(shard);
      resolve();
    }
    // Let acknowledgements and looks for commits through between two transactions, and the application, which sleeps between
    // two tries at the lock: it would starve if the lock were always taken again at once.
    const heldMs = clock.nowMs() - beganMs;
    const gatherMs = GATHER_MS[application.load()];
    if (gatherMs > 0 && !this.#hasApplicable()) await clock.sleep(gatherMs, signal);
    else if (isShared && heldMs > 1) await clock.sleep(heldMs, signal);
    else await clock.turn();
  }

  async #loadBacklog(signal: AbortSignal): Promise<void> {
    const { replica, clock } = this.#parts;
    while (!signal.aborted && replica.loadBacklog()) await clock.turn();
  }

  /** Whether a message waits that may be applied now. */
  #hasApplicable(): boolean {
    for (const queue of this.#queues.values()) {
      const [first] = queue.messages;
      if (!first || queue.isStopped || readyOf(queue) === 0) continue;
      if (first.sequence <= this.barrier.limitOf(queue.stream)) return true;
    }
    return false;
  }

  /** Gives the messages of all shards in their order, another shard first each time, and notes those given. */
  *#take(taken: Taken[]): Generator<IncomingMessage> {
    const queues = [...this.#queues.values()];
    this.#turn++;
    for (let i = 0; i < queues.length; i++) {
      const queue = queues[(i + this.#turn) % queues.length];
      if (!queue || queue.isStopped) continue;
      for (const message of queue.messages.slice(0, readyOf(queue))) {
        if (message.sequence > this.barrier.limitOf(queue.stream)) break;
        taken.push({ queue, message });
        yield this.#incoming(queue, message);
      }
    }
  }

  #incoming({ stream, createdAt, groups }: Queue, message: StoredMessage): IncomingMessage {
    const { sequence, storedAt, subject, format, payload } = message;
    const echoTop = format === null
      ? this.#parts.publisher.echoTopOf(message.shard, sequence, payload)
      : undefined;
    const isFollowed = groups?.isFollowed(message) ?? false;
    return { stream, createdAt, sequence, storedAt, subject, format, payload, echoTop, isFollowed };
  }

  /** What a newer Marmot wrote must not be passed over: the stream waits for this node to be upgraded. */
  #stopStream({ stream, sequence, format }: NonNullable<ApplyOutcome["newerFormat"]>): void {
    for (const queue of this.#queues.values()) if (queue.stream === stream) queue.isStopped = true;
    if (this.#stopped.has(stream)) return;
    this.#stopped.add(stream);
    this.#parts.log.error("stream stopped: a newer Marmot writes to it, upgrade this node", {
      stream,
      sequence,
      format: format ?? "",
    });
  }

  #note(outcome: ApplyOutcome): void {
    const { statistics, publisher } = this.#parts;
    statistics.applied += outcome.written;
    statistics.echoed += outcome.echoed;
    statistics.overwritten += outcome.overwritten;
    statistics.displaced += outcome.displaced;
    statistics.hidden += outcome.hidden;
    statistics.parked += outcome.parked;
    statistics.quarantined += outcome.quarantined;
    statistics.ignored += outcome.ignored;
    for (const [shard, queue] of this.#queues) {
      const numbers = outcome.echoes.filter((echo) => echo.stream === queue.stream).map((echo) =>
        echo.number
      );
      publisher.noteEchoes(shard, numbers);
    }
    if (outcome.newerFormat) this.#stopStream(outcome.newerFormat);
    if (outcome.republish.size > 0) publisher.republish([...outcome.republish]);
    publisher.wake();
  }
}

/** How many messages may be applied now. */
function readyOf({ messages, groups }: Queue): number {
  return messages.length - (groups?.waiting ?? 0);
}

function hasRoom(queue: Queue): boolean {
  return queue.messages.length < MAX_QUEUED && queue.bytes < MAX_QUEUED_BYTES;
}
