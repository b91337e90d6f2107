/**
 * With one shard the stream is one total order, and a message can say that its origin's next one belongs to the same
 * transactions of the application. This finds the places of a stream at which no such run of messages is open: what
 * is committed there shows whole transactions only. A run is open until its origin says otherwise; a new life of the origin does.
 */
import type { StoredMessage } from "../stream/change_streams.ts";
import type { NodeId } from "../wire/batch.ts";
import { BATCH_FORMAT } from "../wire/batch_codec.ts";
import { decodeMessage } from "../wire/message.ts";

/** What is waited for at most, and applied in one transaction; longer runs are applied in pieces. Two full scans. */
const MAX_MESSAGES = 50;
const MAX_BYTES = 8 * 1024 * 1024;
/** How long the rest of a run is waited for: its origin may have ended in the middle. */
export const GROUP_WAIT_MS = 1000;

export class MessageGroups {
  /** Messages behind which a transaction must not end. */
  readonly #followed = new Set<StoredMessage>();
  /** Origins with an open run. */
  readonly #open = new Set<NodeId>();
  #waiting = 0;
  #waitingBytes = 0;
  #waitingSinceMs = 0;

  /** How many messages at the end wait for what belongs to them. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Takes note of the next message of the stream. */
  note(message: StoredMessage, nowMs: number): void {
    const mark = readMark(message);
    if (mark?.isFollowed) this.#open.add(mark.origin);
    else if (mark) this.#open.delete(mark.origin);
    if (this.#open.size === 0) {
      this.#waiting = 0;
      return;
    }
    if (this.#waiting === 0) {
      this.#waitingSinceMs = nowMs;
      this.#waitingBytes = 0;
    }
    this.#followed.add(message);
    this.#waiting++;
    this.#waitingBytes += message.payload.length;
    if (this.#waiting >= MAX_MESSAGES || this.#waitingBytes >= MAX_BYTES) this.#giveUp(message);
  }

  /** Gives up waiting if that has lasted too long; `last` is the last message that was noted. */
  expire(last: StoredMessage, nowMs: number): void {
    if (this.#waiting === 0 || nowMs - this.#waitingSinceMs < GROUP_WAIT_MS) return;
    this.#giveUp(last);
    this.#open.clear();
  }

  /** Whether a transaction must not end behind the message. */
  isFollowed(message: StoredMessage): boolean {
    return this.#followed.has(message);
  }

  /** To be called when a message was applied. */
  forget(message: StoredMessage): void {
    this.#followed.delete(message);
  }

  #giveUp(last: StoredMessage): void {
    this.#followed.delete(last);
    this.#waiting = 0;
  }
}

/** What the message says; undefined for one of the original's, and for one that will be put into quarantine. */
function readMark({ format, payload }: StoredMessage): { origin: NodeId; isFollowed: boolean } | undefined {
  if (format !== BATCH_FORMAT) return undefined;
  try {
    const message = decodeMessage(format, payload);
    if (message.kind !== "batch") return undefined;
    return { origin: message.envelope.origin, isFollowed: message.envelope.isFollowed ?? false };
  } catch {
    return undefined;
  }
}
