/**
 * Where snapshots are kept: a flat set of named objects, each a run of bytes that is written once, whole or not
 * at all. Every backend is one file in stores/; tests/snapshot/store_contract.ts holds all of them to what is said
 * here. What the objects mean is told by the manifest (manifest.ts), itself an object, which is written last.
 */

import { MarmotError } from "../errors.ts";

export interface SnapshotStore {
  /** Where it is, for logs and messages; holds no secret. */
  readonly location: string;

  /**
   * Makes everything that `content` yields the object `name`, in place of the one that was there, and resolves
   * once it is kept safe. Readers meet the old object or the new one, whole, never a part and never a mix. Where
   * `content` throws, `signal` aborts, the store fails or the process dies, the old object stays. Of writers of one
   * name at the same time one wins. `content` is read no faster than the store takes it: memory stays flat.
   * Rejects with MarmotError "snapshot", with what `content` threw, or with the signal's reason.
   */
  put(name: string, content: AsyncIterable<Uint8Array>, options?: PutOptions): Promise<void>;

  /**
   * The object, or undefined where there is none. Its content is read no faster than it is asked for; whoever
   * does not read it to its end cancels it. Reading rejects with MarmotError "snapshot" where less or more comes
   * than `sizeBytes`, or nothing for a minute; so it may when the object is replaced or deleted meanwhile.
   */
  get(name: string, options?: AccessOptions): Promise<StoredObject | undefined>;

  /** Every whole object, by name in the order of code units. Empty where the place itself is not there yet. */
  list(options?: AccessOptions): Promise<ObjectInfo[]>;

  /** Removes the object; one that is not there is fine. */
  delete(name: string, options?: AccessOptions): Promise<void>;

  /**
   * Removes what writers that died have left and that takes room unseen. What has changed within the last
   * `olderThanMs` by the store's own clock may belong to a writer at work, and stays.
   */
  removeAbandoned(olderThanMs: number, options?: AccessOptions): Promise<void>;

  /** Lets go of connections; objects that are being read or written are given up. */
  close(): Promise<void>;
}

export interface AccessOptions {
  /** Gives up: the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface PutOptions extends AccessOptions {
  /**
   * Kept beside the object by the NATS store, where nodes of the original look for them. The other stores
   * drop them: what we need ourselves stands in the manifest.
   */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ObjectInfo {
  readonly name: string;
  readonly sizeBytes: number;
  /** When the object was written, by the store's clock: only times of one store can be compared. */
  readonly modifiedAt: Date;
}

export interface StoredObject {
  readonly info: ObjectInfo;
  readonly content: ReadableStream<Uint8Array>;
}

const OBJECT_NAME = /^[a-z0-9][a-z0-9._-]{0,99}$/;

/**
 * Whether a name is one that every store can keep as it is: 1 to 100 of a-z, 0-9, dot, dash and underline,
 * beginning with a letter or a digit. Names that begin with a dot are those of unfinished objects.
 */
export function isObjectName(name: string): boolean {
  return OBJECT_NAME.test(name);
}

/** Throws MarmotError "snapshot" for a name that some store could not keep, or that would lead elsewhere. */
export function assertObjectName(name: string): void {
  if (isObjectName(name)) return;
  throw new MarmotError(
    "snapshot",
    `Cannot use ${
      JSON.stringify(name)
    } as the name of a snapshot object: only 1 to 100 of a-z, 0-9, dot, dash ` +
      "and underline are allowed, a letter or digit first",
  );
}

/** The objects in the order in which `list` gives them. */
export function sortByName(objects: readonly ObjectInfo[]): ObjectInfo[] {
  return objects.toSorted((left, right) => left.name < right.name ? -1 : left.name > right.name ? 1 : 0);
}
