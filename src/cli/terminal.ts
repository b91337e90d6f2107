/** The person who started Marmot, as the program sees them. */

export interface Terminal {
  /** What was asked for: help, the version, what a command found. */
  writeOutput(text: string): void;
  /** Why the run failed. */
  writeError(text: string): void;
  /** Whether somebody sees what `writeError` writes at once, on a terminal. */
  readonly isWatched?: boolean;
  /** Asks a question that is answered with yes or no; null where nobody is there to answer. */
  confirm(question: string): boolean | null;
}
