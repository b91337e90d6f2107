/**
 * The manifest: the object that says which snapshots there are, newest first. It is written last, and replacing it
 * is what makes a snapshot count. Invariants: an object that the manifest names is never removed, and what is
 * removed either was named by the manifest before or is an orphan that nobody can be writing any more.
 * Whoever may write to the store may have written anything: nothing of a manifest is used before it is checked.
 */

import { MarmotError } from "../errors.ts";
import { isObjectName, type ObjectInfo } from "./snapshot_store.ts";

/** The manifest's own name in every store. A compatibility constant. */
export const MANIFEST_NAME = "manifest.json";

/** How many snapshots are kept: the newest, and the one before in case that it is damaged. */
export const KEPT_SNAPSHOTS = 2;

/** Cursors and marks of a thousand shards and dozens of nodes fit. */
export const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;

/** Told apart from whatever comes later. A compatibility constant. */
const FORMAT = "marmot-snapshots-1";
/** More than are ever kept: room for settings of later releases. */
const MAX_SNAPSHOTS = 64;

export interface SnapshotEntry {
  /** The object that holds the database. */
  readonly object: string;
  /** Of the object as it is stored. */
  readonly objectBytes: number;
  readonly objectSha256: string;
  readonly compression: "none" | "zstd";
  /** Of the database file inside. */
  readonly databaseBytes: number;
  readonly databaseSha256: string;
  /** When it was taken, in ms since 1970, by the clock of the node that took it: for people. */
  readonly createdAtMs: number;
  /** The node that took it. */
  readonly nodeId: bigint;
  /** What the database holds, in terms of the streams: the business of whoever saves and restores. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface Manifest {
  /** Newest first: the order in which they were put there, which no clock decides. */
  readonly snapshots: readonly SnapshotEntry[];
}

export const EMPTY_MANIFEST: Manifest = { snapshots: [] };

export function encodeManifest(manifest: Manifest): Uint8Array {
  const snapshots = manifest.snapshots.map((entry) => ({ ...entry, nodeId: String(entry.nodeId) }));
  return new TextEncoder().encode(JSON.stringify({ format: FORMAT, snapshots }, undefined, 1));
}

/** Throws MarmotError "snapshot" for bytes that are no manifest, or one of a later format. */
export function decodeManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > MAX_MANIFEST_BYTES) throw unreadable("it is larger than any manifest");
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw unreadable("it is not JSON");
  }
  const { format, snapshots } = asRecord(json, "it is not an object");
  if (typeof format === "string" && format !== FORMAT && format.startsWith("marmot-snapshots-")) {
    throw new MarmotError("snapshot", `Cannot read the snapshots' manifest: its format is ${quote(format)}`, {
      hint: "A newer Marmot has written it: upgrade this node.",
    });
  }
  if (format !== FORMAT) throw unreadable("its format is not named");
  if (!Array.isArray(snapshots) || snapshots.length > MAX_SNAPSHOTS) {
    throw unreadable(`it does not hold up to ${MAX_SNAPSHOTS} snapshots`);
  }
  const entries = snapshots.map(readEntry);
  if (new Set(entries.map(({ object }) => object)).size !== entries.length) {
    throw unreadable("it names an object twice");
  }
  return { snapshots: entries };
}

/** A name that no other snapshot has; by name, those of one node stand in the order of its clock. */
export function snapshotObjectName(
  { createdAtMs, nodeId, random }: { createdAtMs: number; nodeId: bigint; random: string },
): string {
  return `snapshot-${String(createdAtMs).padStart(14, "0")}-${nodeId}-${random}.db`;
}

/**
 * The manifest after `added` was uploaded: it first, then the newest of those before whose objects are still there.
 * `stored` is what the store lists now, with the new object in it.
 */
export function manifestWith(
  current: Manifest,
  { added, stored }: { added: SnapshotEntry; stored: readonly ObjectInfo[] },
): Manifest {
  const sizes = new Map(stored.map(({ name, sizeBytes }) => [name, sizeBytes]));
  const others = current.snapshots.filter(({ object, objectBytes }) =>
    object !== added.object && sizes.get(object) === objectBytes
  );
  return { snapshots: [added, ...others].slice(0, KEPT_SNAPSHOTS) };
}

export interface RemovalInput {
  /** The manifest that was replaced. */
  readonly before: Manifest;
  /** The manifest as it was read back after the switch; another node may have switched since. */
  readonly now: Manifest;
  readonly stored: readonly ObjectInfo[];
  /** How long an object may be there before a manifest names it: longer than any upload takes. */
  readonly orphanAgeMs: number;
}

/**
 * The objects to remove after a switch: snapshots that the manifest before named and the present one does not, and
 * snapshots that no manifest names and that are older than the present manifest by more than `orphanAgeMs`, both
 * times being the store's. A younger one may be the next snapshot of another node, uploaded and not yet named.
 * Anything that is not named like a snapshot of ours is not ours to remove.
 */
export function removableObjects({ before, now, stored, orphanAgeMs }: RemovalInput): string[] {
  const named = new Set(now.snapshots.map(({ object }) => object));
  const dropped = new Set(before.snapshots.map(({ object }) => object));
  const switchedAt = stored.find(({ name }) => name === MANIFEST_NAME)?.modifiedAt.getTime();
  return stored
    .filter(({ name, modifiedAt }) => {
      if (named.has(name) || !isSnapshotObjectName(name)) return false;
      if (dropped.has(name)) return true;
      return switchedAt !== undefined && switchedAt - modifiedAt.getTime() > orphanAgeMs;
    })
    .map(({ name }) => name);
}

function isSnapshotObjectName(name: string): boolean {
  return /^snapshot-\d{14}-\d{1,20}-[a-z0-9]+\.db$/.test(name);
}

function readEntry(value: unknown): SnapshotEntry {
  const entry = asRecord(value, "a snapshot in it is not an object");
  const object = entry["object"];
  if (typeof object !== "string" || !isObjectName(object) || object === MANIFEST_NAME) {
    throw unreadable("the name of a snapshot's object can't be used");
  }
  const compression = entry["compression"];
  if (compression !== "none" && compression !== "zstd") {
    throw new MarmotError("snapshot", `Cannot read snapshot ${quote(object)}: its compression is not known`, {
      hint: "If a newer Marmot has written it, upgrade this node.",
    });
  }
  const nodeId = entry["nodeId"];
  if (typeof nodeId !== "string" || !/^\d{1,20}$/.test(nodeId) || BigInt(nodeId) >= 2n ** 64n) {
    throw unreadable(`the node of ${quote(object)} is not an id`);
  }
  return {
    object,
    objectBytes: readCount(entry, "objectBytes"),
    objectSha256: readSha256(entry, "objectSha256"),
    compression,
    databaseBytes: readCount(entry, "databaseBytes"),
    databaseSha256: readSha256(entry, "databaseSha256"),
    createdAtMs: readCount(entry, "createdAtMs"),
    nodeId: BigInt(nodeId),
    headers: readHeaders(entry["headers"]),
  };
}

function readCount(entry: Readonly<Record<string, unknown>>, field: string): number {
  const value = entry[field];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw unreadable(`its ${field} is not a whole number`);
}

function readSha256(entry: Readonly<Record<string, unknown>>, field: string): string {
  const value = entry[field];
  if (typeof value === "string" && /^[0-9a-f]{64}$/.test(value)) return value;
  throw unreadable(`its ${field} is not a SHA-256 in hex`);
}

function readHeaders(value: unknown): Record<string, string> {
  const headers: [string, string][] = [];
  for (const [key, text] of Object.entries(asRecord(value, "its headers are not an object"))) {
    if (typeof text !== "string") throw unreadable("a header in it is not text");
    headers.push([key, text]);
  }
  // Not by assignment: a header called __proto__ would become the object's prototype.
  return Object.fromEntries(headers);
}

function asRecord(value: unknown, complaint: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw unreadable(complaint);
}

function unreadable(reason: string): MarmotError {
  return new MarmotError("snapshot", `Cannot read the snapshots' manifest: ${reason}`, {
    hint:
      "Save a new snapshot; if the store holds something else as well, give Marmot a place of its own there.",
  });
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
