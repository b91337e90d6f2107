/** What `marmot resync` says: what each way gives up, what is there, and what was done. */

import type { StreamOnRecord } from "../db/operator/stream_list.ts";
import type { StreamMove } from "../db/state/resync_request.ts";
import { counted } from "./text.ts";
import { plainText } from "./value_text.ts";

export const RESYNC_SOURCES = ["snapshot", "first", "now"] as const;

export type ResyncSource = (typeof RESYNC_SOURCES)[number];

/** What each way does, and what it gives up. */
export const WAYS: Readonly<Record<ResyncSource, string>> = {
  snapshot:
    "The node takes over the newest snapshot, and goes on in the streams behind it. Given up: what this node has that " +
    "neither the snapshot nor the streams behind it have, and waiting events that the snapshot covers. Changes of this node " +
    "that are not published stay, and are published.",
  first:
    "The streams are read again from the first message that is left. Given up: what the streams do not hold any more. Until " +
    "their end is reached older changes stand over newer rows. Changes of this node that are not published stay, and are published.",
  now:
    "The streams go on from their end. Given up: what this node has not read, messages of a newer Marmot included, and events " +
    "that wait for their table's schema. The rows differ from those of other nodes until they are written again. Changes of this " +
    "node that are not published stay, and are published.",
};

/** Only an upgrade reads them; also said where the operator asks. */
export const NEWER_STAYS =
  "A stream that stopped because a newer Marmot writes to it stops there again: upgrade this node.";

/** What each way gives up, a line for each. */
export function waysText(): string {
  return RESYNC_SOURCES.map((source) => `-from ${source}: ${WAYS[source]}`).join("\n");
}

export function streamLine({ name, cursor, parked }: StreamOnRecord): string {
  const waiting = parked > 0 ? `, ${counted(parked, "waiting message")}` : "";
  return `${plainText(name)}: read up to ${cursor}${waiting}`;
}

export function moveLine({ stream, before, cursor, dropped }: StreamMove): string {
  const gone = dropped > 0 ? `, ${counted(dropped, "waiting message")} dropped` : "";
  return `${plainText(stream)}: goes on behind ${cursor}, had read up to ${before}${gone}`;
}
