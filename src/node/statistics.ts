/** What a node has done since it started; counts only ever grow. */
export interface Statistics {
  /** Entries of the change log that were read for publishing, again after a failure. */
  captured: number;
  publishedEvents: number;
  publishedMessages: number;
  publishFailures: number;
  /** Events written to tables. */
  applied: number;
  /** Own changes that were read back. */
  echoed: number;
  /** Events that found a pending local change, which wins. */
  overwritten: number;
  displaced: number;
  hidden: number;
  parked: number;
  quarantined: number;
  ignored: number;
}

export function newStatistics(): Statistics {
  return {
    captured: 0,
    publishedEvents: 0,
    publishedMessages: 0,
    publishFailures: 0,
    applied: 0,
    echoed: 0,
    overwritten: 0,
    displaced: 0,
    hidden: 0,
    parked: 0,
    quarantined: 0,
    ignored: 0,
  };
}
