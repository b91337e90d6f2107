/**
 * What a node does for one `marmot verify`: holds its apply loop until it stands at the common sequences, looks at its
 * tables there through a connection of its own, and computes digests a few milliseconds at a time. Bounds: the
 * apply loop is held for HOLD_MS + REACH_MS, the read transaction for SESSION_MS, or until IDLE_MS after the last question.
 */
import { foldName } from "../../db/schema/identifiers.ts";
import { DatabaseSnapshot, type SnapshotDescription } from "../../db/verify/database_snapshot.ts";
import { MarmotError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { ApplyBarrier } from "../apply_barrier.ts";
import type { Cursors, Question } from "./verify_protocol.ts";

/** How long the apply loop stands still until the common sequences are told: as a rule a round trip. */
const HOLD_MS = 3_000;
/** How long a node that is behind may take to reach them: it stands still on the shards where it is not behind. */
const REACH_MS = 5_000;
const IDLE_MS = 10_000;
const SESSION_MS = 10 * 60_000;
/** Between two looks whether the common sequences are reached. */
const LOOK_MS = 1;
/** Longest stretch of work, after which as long a pause is made. */
const WORK_MS = 4;
/** How long SQLite may wait for a lock by itself, which blocks the event loop. */
const BUSY_TIMEOUT_MS = 4;
const MAX_EXCLUDED = 1_000_000;

export interface VerifySessionParts {
  readonly dbPath: string;
  readonly barrier: ApplyBarrier;
  /** Per shard its stream and the last sequence applied; undefined where it does not go on. */
  readonly cursors: () => readonly {
    readonly stream: string | undefined;
    readonly cursor: number | undefined;
  }[];
  /** Whether the operator has paused capture. */
  readonly isPaused: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export class VerifySession {
  readonly #parts: VerifySessionParts;
  readonly #end = new AbortController();
  readonly #excluded = new Map<string, Set<string>>();
  readonly #beganAtMs: number;
  #excludedCount = 0;
  #askedAtMs: number;
  #isHolding = false;
  #isTargetKnown = false;
  #heldAtMs = 0;
  #snapshot: DatabaseSnapshot | undefined;
  /** The question that is worked on, and what comes of it. */
  #job: { readonly question: string; readonly outcome: Promise<unknown> } | undefined;

  constructor(readonly id: string, parts: VerifySessionParts) {
    this.#parts = parts;
    this.#beganAtMs = this.#askedAtMs = parts.clock.nowMs();
  }

  /** Whether the asker is gone, or has had its time. */
  get isOver(): boolean {
    const nowMs = this.#parts.clock.nowMs();
    return this.#end.signal.aborted || nowMs - this.#askedAtMs > IDLE_MS ||
      nowMs - this.#beganAtMs > SESSION_MS;
  }

  /** Works on a question; the same question gets the same outcome. Rejects with MarmotError. */
  answer(question: Exclude<Question, { kind: "hello" | "end" }>): Promise<unknown> {
    this.#askedAtMs = this.#parts.clock.nowMs();
    const text = JSON.stringify(question);
    if (this.#job?.question === text) return this.#job.outcome;
    const before = this.#job?.outcome.catch(() => {}) ?? Promise.resolve();
    const outcome = question.kind === "hold"
      ? Promise.resolve().then(() => this.#hold())
      : before.then(() => this.#work(question));
    // Whoever asks again is told; nobody may.
    outcome.catch(() => {});
    this.#job = { question: text, outcome };
    return outcome;
  }

  /** Gives up the snapshot and lets the apply loop go on. */
  async close(): Promise<void> {
    this.#end.abort(new MarmotError("broker", "the comparison took too long, or its asker was not heard of"));
    this.#release();
    await this.#job?.outcome.catch(() => {});
    this.#snapshot?.close();
  }

  #work(question: Exclude<Question, { kind: "hello" | "hold" | "end" }>): Promise<unknown> | unknown {
    this.#end.signal.throwIfAborted();
    if (question.kind === "snapshot") return this.#takeSnapshot(question.target);
    if (!this.#snapshot) throw new MarmotError("wire", "There is no snapshot to compare");
    const { table } = question;
    const excluded = this.#excludedOf(table);
    switch (question.kind) {
      case "exclude":
        this.#excludedCount += question.identities.length;
        if (this.#excludedCount > MAX_EXCLUDED) {
          throw new MarmotError("wire", "Too many keys are to be left out");
        }
        for (const identity of question.identities) excluded.add(identity);
        return null;
      case "digest":
        return this.#snapshot.digestTable({ ...question, excluded, pace: this.#makePace() });
      case "keys": {
        const request = { ...question, excluded, pace: this.#makePace() };
        return this.#snapshot.digestKeys(request, new Set(question.buckets));
      }
    }
  }

  #hold(): Cursors {
    const { barrier, clock, isPaused } = this.#parts;
    if (isPaused()) {
      throw new MarmotError("broker", "it is paused for a migration: end that with marmot pause -end first");
    }
    const cursors = this.#readCursors();
    barrier.hold();
    this.#isHolding = true;
    this.#heldAtMs = clock.nowMs();
    void clock.sleep(HOLD_MS, this.#end.signal).then(() => {
      if (!this.#isTargetKnown) this.#release();
    });
    return cursors;
  }

  async #takeSnapshot(target: Cursors): Promise<SnapshotDescription> {
    const { barrier, clock, dbPath } = this.#parts;
    if (this.#snapshot) throw new MarmotError("wire", "The snapshot was taken already");
    if (!this.#isHolding) {
      throw new MarmotError("broker", "it was asked too late: other nodes took too long to answer");
    }
    this.#isTargetKnown = true;
    barrier.goOnTo(new Map(target));
    const deadlineMs = clock.nowMs() + REACH_MS;
    try {
      for (let behind = this.#countBehind(target); behind > 0; behind = this.#countBehind(target)) {
        if (clock.nowMs() > deadlineMs) {
          throw new MarmotError(
            "broker",
            `it is ${behind} messages behind: verify again when it has caught up`,
          );
        }
        await clock.sleep(LOOK_MS, this.#end.signal);
        this.#end.signal.throwIfAborted();
      }
      this.#snapshot = DatabaseSnapshot.open(dbPath, { busyTimeoutMs: BUSY_TIMEOUT_MS });
    } finally {
      this.#release();
    }
    return await this.#snapshot.describe(this.#makePace());
  }

  #release(): void {
    if (!this.#isHolding) return;
    const { barrier, clock, log } = this.#parts;
    this.#isHolding = false;
    barrier.release();
    log.debug("applying goes on", { heldMs: clock.nowMs() - this.#heldAtMs });
  }

  /** Messages that are still to be applied. */
  #countBehind(target: Cursors): number {
    const cursors = new Map(this.#readCursors());
    return target.reduce((count, [stream, to]) => count + Math.max(0, to - (cursors.get(stream) ?? 0)), 0);
  }

  #readCursors(): Cursors {
    return this.#parts.cursors().map(({ stream, cursor }) => {
      if (stream === undefined) throw new MarmotError("broker", "it has not read its streams yet");
      if (cursor === undefined) {
        throw new MarmotError("broker", `it has stopped reading stream "${stream}": its log says why`);
      }
      return [stream, cursor];
    });
  }

  #excludedOf(table: string): Set<string> {
    const name = foldName(table);
    const excluded = this.#excluded.get(name) ?? new Set();
    this.#excluded.set(name, excluded);
    return excluded;
  }

  /** Works at most half of the time, a few milliseconds at a stretch. */
  #makePace(): () => Promise<void> | undefined {
    const { clock } = this.#parts;
    const { signal } = this.#end;
    let beganMs = performance.now();
    return () => {
      signal.throwIfAborted();
      const workedMs = performance.now() - beganMs;
      if (workedMs < WORK_MS) return undefined;
      return clock.sleep(workedMs, signal).then(() => {
        signal.throwIfAborted();
        beganMs = performance.now();
      });
    };
  }
}
