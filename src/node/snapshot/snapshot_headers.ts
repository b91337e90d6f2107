/** What the manifest says of a snapshot in terms of the streams. Names and shapes are compatibility constants. */
import type { StreamPosition } from "../../db/state/stream_positions.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";

const STREAMS = "marmot-streams";
const SCHEMA = "marmot-schema-sha256";
const STATE_VERSION = "marmot-state-version";

export interface SnapshotFacts {
  /** How far each stream was applied to its rows. */
  readonly positions: readonly StreamPosition[];
  readonly schemaHash: string;
  readonly stateVersion: number;
}

export function encodeHeaders(
  { positions, schemaHash, stateVersion }: SnapshotFacts,
): Record<string, string> {
  const streams = positions.map((
    { name, createdAt, cursor, storedAt },
  ) => [name, createdAt, cursor, storedAt]);
  return {
    [STREAMS]: JSON.stringify(streams),
    [SCHEMA]: schemaHash,
    [STATE_VERSION]: String(stateVersion),
  };
}

/** The hash of the application's schema, in hex; undefined where the manifest does not tell it. */
export function schemaHashOf(headers: Readonly<Record<string, string>>): string | undefined {
  const hash = headers[SCHEMA] ?? "";
  return /^[0-9a-f]{64}$/.test(hash) ? hash : undefined;
}

/** Throws DamagedSnapshotError for what this release never writes. */
export function decodeHeaders(headers: Readonly<Record<string, string>>): SnapshotFacts {
  const stateVersion = decodeStateVersion(headers);
  return {
    positions: parseStreams(headers[STREAMS] ?? ""),
    schemaHash: headers[SCHEMA] ?? "",
    stateVersion,
  };
}

/** Throws as decodeHeaders does. What else a newer release has written may not be readable here. */
export function decodeStateVersion(headers: Readonly<Record<string, string>>): number {
  const stateVersion = Number(headers[STATE_VERSION]);
  if (!Number.isSafeInteger(stateVersion) || stateVersion < 1) throw unreadable();
  return stateVersion;
}

function parseStreams(text: string): StreamPosition[] {
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch {
    throw unreadable();
  }
  if (!Array.isArray(rows)) throw unreadable();
  return rows.map((row) => {
    const [name, createdAt, cursor, storedAt] = Array.isArray(row) ? row : [];
    const areTexts = typeof name === "string" && typeof createdAt === "string" &&
      typeof storedAt === "string";
    if (!areTexts || !Number.isSafeInteger(cursor) || cursor < 0) throw unreadable();
    return { name, createdAt, cursor, storedAt };
  });
}

function unreadable(): DamagedSnapshotError {
  return new DamagedSnapshotError("its manifest does not tell how far the streams were applied");
}
