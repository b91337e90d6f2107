/**
 * The simulation bites: faults that are put into a copy of the engine one at a time, and what finds each. `deno task
 * faults` searches again, as after a change of the engine or of what the seeds mean; tests/simulation/found_faults.json
 * holds what it found last.
 */
import { APPLYING_FAULTS } from "./faults/applying.ts";
import { PUBLISHING_FAULTS } from "./faults/publishing.ts";
import { SNAPSHOT_FAULTS } from "./faults/snapshots.ts";
import { STREAM_FAULTS } from "./faults/streams.ts";
import { UNIQUE_FAULTS } from "./faults/unique.ts";
import type { Mode } from "./plan.ts";

/** A change of one file; `find` occurs in it just once. */
export interface Change {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Fault {
  /** What the engine does wrongly. */
  readonly name: string;
  readonly changes: readonly Change[];
  /** The mode whose seeds find it, or a history that was written for it (tests/simulation/faults). */
  readonly within: { readonly mode: Mode } | { readonly history: string };
}

export const FAULTS: readonly Fault[] = [
  ...PUBLISHING_FAULTS,
  ...APPLYING_FAULTS,
  ...UNIQUE_FAULTS,
  ...STREAM_FAULTS,
  ...SNAPSHOT_FAULTS,
];
