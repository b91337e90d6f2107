/**
 * Which envelopes are believed. A run is the time in milliseconds at which a process began, unless its clock was put
 * back: one far behind the moment at which the server stored the message is nobody's, and believing it would make every
 * later message of that origin count as late.
 */
import { MalformedMessageError } from "../../errors.ts";
import type { EnvelopeHead } from "../../wire/batch_codec.ts";

/** How far a node's clock may be ahead of the broker's. */
const MAX_AHEAD_MS = 10 * 24 * 60 * 60 * 1000;
/** A process that sends a million messages a second gets there after nine years. */
const MAX_NUMBER = 2 ** 48;

/** Throws MalformedMessageError for an envelope that no node can have written. A `storedAt` that is no date tells nothing. */
export function assertPlausible({ run, number }: EnvelopeHead, storedAt: string): void {
  const storedMs = Date.parse(storedAt);
  if (run > storedMs + MAX_AHEAD_MS) {
    throw new MalformedMessageError(
      `Cannot believe run ${run}: it begins more than ten days after ${storedAt}, when the message was stored`,
      { hint: "If the message is from one of your nodes, set the clock of its machine." },
    );
  }
  if (number > MAX_NUMBER) throw new MalformedMessageError(`Cannot believe message number ${number}`);
}
