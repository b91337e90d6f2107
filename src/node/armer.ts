/**
 * Arms the tables, again after each change of schema, and tells the operator what came of it. A real node arms
 * before its broker is there: what the application writes from then on is captured.
 */
import type { ArmingReport } from "../db/capture/arming.ts";
import type { Replica } from "../db/replica.ts";
import type { Log } from "../observability/log.ts";
import type { Clock } from "../runtime/clock.ts";
import { ArmingNews } from "./arming_news.ts";
import { whileBusy } from "./while_busy.ts";

const LOOK_INTERVAL_MS = 100;
/** How often parked messages are tried though the schema did not move: events of a table that stays dropped end. */
const RETRY_INTERVAL_MS = 30_000;
/** Bounds of one write transaction of that. */
const RETRY_TRANSACTION = { rows: 500, milliseconds: 10 };
/** Between two looks whether the operator wants something. */
const REQUEST_INTERVAL_MS = 200;
/** How long messages of the quarantine are tried in a row. */
const RETRY_TURN_MS = 500;
/** Between two looks whether a pause is over. */
const PAUSED_SLEEP_MS = 100;
/** How often a pause is said again: one that was forgotten must not stay unseen. */
const PAUSE_REMINDER_MS = 5 * 60_000;

export interface ArmerParts {
  readonly replica: Replica;
  readonly clock: Clock;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
  readonly log: Log;
}

export class Armer {
  /** Called with the tables whose rows are to be published again, once their changes can be scanned. */
  onRepublish: (tables: readonly string[]) => void = () => {};
  /** Called when a command has left something on record that is not the armer's to do. Called again when it throws DatabaseBusyError. */
  onRequest: () => void = () => {};
  readonly #parts: ArmerParts;
  readonly #news: ArmingNews;
  #looking: Promise<void> | undefined;
  #triedAtMs = 0;
  #askedAtMs = -Infinity;
  /** Whether messages in quarantine wait to be tried. */
  #hasRetries = false;
  /** When the pause was said last, 0 while there is none. */
  #saidPauseAtMs = 0;

  constructor(parts: ArmerParts) {
    this.#parts = parts;
    this.#news = new ArmingNews({ log: parts.log, hasImages: parts.replica.hasImages });
  }

  /** Arms the tables if the schema has changed since that was done; callers that come meanwhile wait for the same. */
  look(signal: AbortSignal): Promise<void> {
    this.#looking ??= this.#lookOnce(signal).finally(() => this.#looking = undefined);
    return this.#looking;
  }

  /** Looks again and again until the signal aborts. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look(signal);
      await this.#parts.clock.sleep(LOOK_INTERVAL_MS, signal);
    }
  }

  async #lookOnce(signal: AbortSignal): Promise<void> {
    const { replica, clock, log } = this.#parts;
    const isNew = await this.#whileBusy(() => replica.hasNewSchema(), signal);
    const pausedSinceMs = isNew ? await this.#whileBusy(() => replica.pausedSinceMs(), signal) : undefined;
    if (pausedSinceMs !== undefined) return await this.#waitPaused(pausedSinceMs, signal);
    const report = isNew ? await this.#whileBusy(() => this.#arm(), signal) : undefined;
    if (report) {
      if (this.#saidPauseAtMs > 0) log.info("the pause is over: what was written meanwhile is published");
      this.#saidPauseAtMs = 0;
      this.#news.say(report, replica.tablesInNeedOfResync());
    }
    if (report || clock.nowMs() - this.#triedAtMs >= RETRY_INTERVAL_MS) await this.#retryParked(signal);
    await this.#doAsRequested(signal);
  }

  /** Arms, and in the same moment has published what may not go unchecked. */
  #arm(): ArmingReport | undefined {
    const { replica } = this.#parts;
    const report = replica.arm();
    if (!report) return undefined;
    // Changes of a renamed table go to the shard of its new name from now on, which may be past them.
    const tables = [...report.appeared, ...report.uncaptured, ...report.renumbered, ...report.renamed.flat()];
    for (const id of [...report.gainedColumns, ...report.uniqueChanged]) {
      const name = replica.tables.byId(id)?.schema.name;
      if (name !== undefined) tables.push(name);
    }
    // In the same moment: a scan between would publish backfill without looking what it overwrites.
    this.onRepublish([...new Set(tables)]);
    return report;
  }

  /** Does what a command has left for the node: takes up messages in quarantine, goes on behind discarded events. */
  async #doAsRequested(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    if (clock.nowMs() - this.#askedAtMs < REQUEST_INTERVAL_MS) return;
    this.#askedAtMs = clock.nowMs();
    const isNew = await this.#whileBusy(() => this.#takeRequest(), signal);
    if (!isNew && !this.#hasRetries) return;
    if (isNew) await this.#whileBusy(() => this.onRequest(), signal);
    await this.#retryQuarantined(signal);
    if (isNew) await this.#retryParked(signal);
  }

  /** Takes a request in, and in the same moment has published what waited for events that were discarded. */
  #takeRequest(): boolean {
    const { replica } = this.#parts;
    const before = replica.parkedTables();
    const isNew = replica.takeOperatorRequest();
    const after = replica.parkedTables();
    if (before.some((name) => !after.includes(name))) {
      this.onRepublish(replica.tables.all().map((table) => table.schema.name));
    }
    return isNew;
  }

  async #retryQuarantined(signal: AbortSignal): Promise<void> {
    const { replica, clock, log } = this.#parts;
    this.#hasRetries = false;
    let turnedAtMs = clock.nowMs();
    for (let after = 0;;) {
      const result = await this.#whileBusy(() => {
        const tried = replica.retryQuarantined(after);
        // In the same moment: what it wrote must not be published unchecked.
        if (tried?.kind === "applied") this.onRepublish([tried.table]);
        return tried;
      }, signal);
      // What is left when the schema moves goes on when the tables are armed again.
      if (!result) return void (this.#hasRetries ||= replica.hasNewSchema());
      const { id: message } = result;
      if (result.kind === "applied") {
        log.info("message taken out of quarantine and applied", { message, table: result.table });
      } else if (result.kind === "stays") {
        log.warn("message stays in quarantine", { message, reason: result.reason });
      } else this.#hasRetries = true;
      after = message;
      // Not after each: what they publish comes back, and counts as a later event of their tables.
      if (clock.nowMs() - turnedAtMs < RETRY_TURN_MS) continue;
      await clock.turn();
      turnedAtMs = clock.nowMs();
    }
  }

  /** Lets some time pass in a pause: whoever waits for the tables to be armed asks again and again. */
  async #waitPaused(sinceMs: number, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    if (clock.nowMs() - this.#saidPauseAtMs >= PAUSE_REMINDER_MS) {
      this.#saidPauseAtMs = clock.nowMs();
      const since = new Date(sinceMs).toISOString();
      log.warn("paused for a migration: nothing is published or applied until marmot pause -end", {
        since,
      });
    }
    await clock.sleep(PAUSED_SLEEP_MS, signal);
  }

  async #retryParked(signal: AbortSignal): Promise<void> {
    this.#triedAtMs = this.#parts.clock.nowMs();
    const { replica, clock } = this.#parts;
    for (;;) {
      const retry = () => {
        const outcome = replica.retryParked(RETRY_TRANSACTION);
        if (outcome?.republish.size) this.onRepublish([...outcome.republish]);
        return outcome;
      };
      if (!(await this.#whileBusy(retry, signal))?.messages) return;
      // As long as the write lock was held it is left to the application, which tries again now and then only.
      await clock.sleep(RETRY_TRANSACTION.milliseconds, signal);
    }
  }

  /** Tries again while another connection holds the lock; undefined when the signal aborts meanwhile. */
  #whileBusy<T>(work: () => T, signal: AbortSignal): Promise<T | undefined> {
    return whileBusy(work, { ...this.#parts, signal });
  }
}
