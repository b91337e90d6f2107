/** The ids that the operator names records by. */

import { MarmotError } from "../errors.ts";

const LARGEST_ID = 2n ** 63n - 1n;

/** Reads the ID of a record. Throws MarmotError "usage" with the command that lists them. */
export function parseRecordId(word: string | undefined, listedBy: string): bigint {
  const id = /^\d{1,19}$/.test(word ?? "") ? BigInt(word ?? "") : 0n;
  if (id >= 1n && id <= LARGEST_ID) return id;
  throw new MarmotError("usage", `Cannot use ${JSON.stringify(word)} as an ID: it must be a whole number`, {
    hint: `${listedBy} lists the IDs.`,
  });
}
