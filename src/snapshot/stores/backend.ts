/**
 * What one kind of store does itself. It is used through CheckedStore only, which has checked the names, and which
 * turns whatever is thrown into a sentence.
 */

import type { ObjectInfo } from "../snapshot_store.ts";

export interface Backend {
  readonly location: string;
  /** All or nothing, as SnapshotStore.put says. Ends soon after the signal aborts, and does not switch then. */
  write(name: string, content: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<void>;
  /** The content may be of any length: who reads it counts. The signal ends the reading as well. */
  open(name: string, signal: AbortSignal): Promise<BackendObject | undefined>;
  /** In any order; foreign names may be among them. */
  list(signal: AbortSignal): Promise<ObjectInfo[]>;
  delete(name: string, signal: AbortSignal): Promise<void>;
  removeAbandoned(olderThanMs: number, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
  /** What an error of this kind of store means; undefined where its own text says it. */
  explain(error: unknown): Explanation | undefined;
}

export interface WriteOptions {
  readonly signal: AbortSignal;
  readonly headers: Readonly<Record<string, string>>;
}

export interface BackendObject {
  readonly info: ObjectInfo;
  readonly content: AsyncIterable<Uint8Array>;
}

/** Worded to follow "Cannot read … from …: ". */
export interface Explanation {
  readonly reason: string;
  /** What the operator can do. */
  readonly hint?: string | undefined;
}

/** A failure whose message is already the reason that people are told. */
export class ExplainedError extends Error {
  override readonly name = "ExplainedError";

  constructor(reason: string, readonly hint?: string) {
    super(reason);
  }
}

/** A name for the unfinished object: not an object's name, not taken, and known as ours afterwards. */
export function temporaryName(name: string): string {
  const random = crypto.getRandomValues(new Uint8Array(8)).toHex();
  return `.${name}.${random}.part`;
}

export function isTemporaryName(name: string): boolean {
  return /^\.[a-z0-9][a-z0-9._-]*\.[0-9a-f]{16}\.part$/.test(name);
}

/**
 * The temporary objects that nobody writes any more. `now` is the store's own time: that of something that was
 * just written.
 */
export function abandonedNames(
  objects: readonly ObjectInfo[],
  { now, olderThanMs }: { now: Date; olderThanMs: number },
): string[] {
  return objects
    .filter(({ name, modifiedAt }) =>
      isTemporaryName(name) && now.getTime() - modifiedAt.getTime() >= olderThanMs
    )
    .map(({ name }) => name);
}
