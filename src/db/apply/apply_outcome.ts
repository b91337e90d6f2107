/** What became of the messages of one apply transaction, and how large such a transaction may be. */
import type { AppliedEvents } from "./batch_applier.ts";

export interface ApplyOutcome extends Omit<AppliedEvents, "republished"> {
  /** How many of the messages were taken; the others did not fit in the transaction's bounds. */
  messages: number;
  /** Own messages of this run that were read back. */
  readonly echoes: { stream: string; number: number }[];
  parked: number;
  quarantined: number;
  /** Messages that came after a newer one of their origin. */
  ignored: number;
  /** Tables of which rows were logged to be published again: see unique_agreement.ts. */
  readonly republish: Set<string>;
  /** Whether the next message was not taken because captured changes must be taken in before it. */
  needsBacklog: boolean;
  /** The message that was not taken because a newer Marmot wrote it. */
  newerFormat:
    | { readonly stream: string; readonly sequence: number; readonly format: string | null }
    | undefined;
}

/** Bounds of one transaction: at least one message is taken, then no more once either is reached. */
export interface ApplyBounds {
  readonly rows: number;
  readonly milliseconds: number;
}

export function noOutcome(): ApplyOutcome {
  return {
    messages: 0,
    echoes: [],
    written: 0,
    overwritten: 0,
    displaced: 0,
    hidden: 0,
    echoed: 0,
    isUnfinished: false,
    parked: 0,
    quarantined: 0,
    ignored: 0,
    republish: new Set(),
    needsBacklog: false,
    newerFormat: undefined,
  };
}

/** Tells whether a transaction that begins now has reached its bounds. */
export function boundOf(
  outcome: ApplyOutcome,
  { rows, milliseconds }: ApplyBounds,
  nowMs: () => number,
): () => boolean {
  const deadline = nowMs() + milliseconds;
  return () => outcome.written >= rows || nowMs() >= deadline;
}
