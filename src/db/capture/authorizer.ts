/**
 * What the application's triggers may do on Marmot's connection. Marmot's writes carry rows that another node's
 * triggers have made already, so a trigger must not write a replicated table a second time, and nothing that
 * Marmot writes is captured. Rules, each tried against SQLite (tests/db/authorizer_test.ts):
 * - INSERT and UPDATE steps of triggers on replicated tables and on the change log: IGNORE, the step does nothing.
 * - DELETE steps of triggers on replicated tables: DENY. IGNORE would not skip them (it only turns off the
 *   truncate optimisation), so such triggers are taken away while Marmot writes (suspended triggers), and this
 *   rule makes a mistake fail while compiling, before harm.
 * - SELECT and READ are never touched: IGNORE on a SELECT makes SQLite crash on `x IN (SELECT ...)`.
 */
import { type Authorizer, authorizerCodes } from "../connection.ts";
import { foldName } from "../schema/identifiers.ts";
import { CHANGE_LOG } from "../state/state_tables.ts";

/** What was seen while statements compiled. */
export interface TriggerRecording {
  /** Triggers that were reached. */
  readonly reached: Set<string>;
  /** Those of them that delete from a replicated table. */
  readonly deleting: Set<string>;
}

export class TriggerPolicy {
  #replicated = new Set<string>();
  #recording: TriggerRecording | undefined;

  /** The tables whose changes are replicated. */
  setReplicated(names: Iterable<string>): void {
    this.#replicated = new Set([...names].map(foldName));
  }

  /** Runs `compile`, with deletions allowed, and tells which triggers it reached. */
  record(compile: () => void): TriggerRecording {
    const recording: TriggerRecording = { reached: new Set(), deleting: new Set() };
    this.#recording = recording;
    try {
      compile();
    } finally {
      this.#recording = undefined;
    }
    return recording;
  }

  readonly authorizer: Authorizer = (action, first, _second, _database, trigger) => {
    if (trigger === null) return authorizerCodes.ok;
    this.#recording?.reached.add(trigger);
    const { insert, update, delete: deletion, ok, ignore, deny } = authorizerCodes;
    if (action !== insert && action !== update && action !== deletion) return ok;
    const table = foldName(first ?? "");
    if (table === CHANGE_LOG) return action === insert ? ignore : ok;
    if (!this.#replicated.has(table)) return ok;
    if (action !== deletion) return ignore;
    this.#recording?.deleting.add(trigger);
    return this.#recording ? ok : deny;
  };
}
