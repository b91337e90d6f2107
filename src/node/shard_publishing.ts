/**
 * How far publishing on one shard has come.
 *
 *   reading ──(stream read to its end)──► checked ──(all doubtful entries sent)──► open
 *      ▲                                     │                                      │
 *      └──(in flight settled)── draining ◄───┴───────────(a publish failed)─────────┘
 *
 * Invariants: 1. Nothing is sent while draining or reading. 2. Entries up to `checkedTo` may be in the stream
 * already: they go one message at a time with the expected last sequence of their table's subject. 3. Numbers ascend in
 * a run, whatever fails. 4. What is in flight when a shard drains is forgotten: it goes again with fresh images. 5. What
 * waits in a phase "checked" ends with it: the shard may be checked again before it has noticed.
 */
import { SentSets } from "./sent_sets.ts";

export type PublishingPhase = "draining" | "reading" | "checked" | "open";

export class ShardPublishing {
  phase: PublishingPhase = "draining";
  /** Sequence up to which the stream must be read before anything is sent. */
  readTo = Infinity;
  /** Highest log id that may have been sent before. */
  checkedTo = 0;
  /** Log id up to which changes were taken since the shard drained. */
  position = 0;
  /** Messages that were handed over to be sent and whose outcome is open. */
  inFlight = 0;
  /** Whether a scan may find changes: something was committed since the last, or that ended before the end of the log. */
  isBehind = true;
  /** Whether the last scan ended before the end of the change log. */
  hasBacklog = false;
  /** How often it was told to drain. */
  drains = 0;
  /** Whether someone waits for this shard to drain. */
  isAwaitingDrain = false;
  /** Failed publishes in a row. */
  failures = 0;
  /** Whether the operator was told that publishing fails; false again once it succeeds. */
  isFailureSaid = false;
  /** Messages of the stream that the server keeps. */
  maxMessages = Infinity;
  /** Numbers of messages that were sent and not read back. */
  readonly unread = new Set<number>();
  /** What is known of the changes in these messages. */
  readonly sent = new SentSets();
  #number = 0;
  #checking = new AbortController();

  constructor(readonly shard: number, readonly maxInFlight: number) {}

  readonly nextNumber = (): number => ++this.#number;

  /** Stops sending: what was sent is in doubt, and so is everything up to `highestId`. */
  drain(highestId: number): void {
    this.phase = "draining";
    this.#checking.abort();
    this.drains++;
    this.readTo = Infinity;
    this.checkedTo = Math.max(this.checkedTo, highestId);
  }

  /** Begins again from the first entry that is not settled. */
  beginReading(lastSequence: number, maxMessages: number): void {
    this.phase = "reading";
    this.readTo = lastSequence;
    this.maxMessages = maxMessages;
    this.position = 0;
    this.unread.clear();
  }

  /** Begins to send doubtful entries, once the stream was read to its end. The signal aborts when the shard drains. */
  beginChecking(): AbortSignal {
    this.phase = "checked";
    this.#checking = new AbortController();
    return this.#checking.signal;
  }

  /** To be called with an own message that was read back. */
  noteReadBack(number: number): void {
    this.unread.delete(number);
    this.sent.readBack(number);
  }

  /** Own messages must be read back before the server trims them. */
  get hasRoom(): boolean {
    return this.unread.size < Math.max(1, Math.floor(this.maxMessages / 2));
  }
}
