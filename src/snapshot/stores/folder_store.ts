/**
 * Snapshots in a folder of this machine, or one that is mounted. An object is written beside its place, synced,
 * and renamed into it.
 */

import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import type { ObjectInfo } from "../snapshot_store.ts";
import {
  abandonedNames,
  type Backend,
  type BackendObject,
  type Explanation,
  temporaryName,
  type WriteOptions,
} from "./backend.ts";

const CHUNK_BYTES = 256 * 1024;
/** After so many bytes they are synced, so that the disk is never given all of an object at once. */
const SYNC_BYTES = 64 * 1024 * 1024;

export class FolderStore implements Backend {
  readonly location: string;
  readonly #folder: string;

  /** `folder` is an absolute path; it is made when the first object is written. */
  constructor(folder: string) {
    this.#folder = folder;
    this.location = pathToFileURL(folder).href;
  }

  async write(
    name: string,
    content: AsyncIterable<Uint8Array>,
    { signal }: WriteOptions,
  ): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const temporaryPath = join(this.#folder, temporaryName(name));
    try {
      // A snapshot holds all of the database: nobody else may read it.
      const file = await open(temporaryPath, "wx", 0o600);
      try {
        await writeAll(file, content);
        await file.sync();
      } finally {
        await file.close();
      }
      signal.throwIfAborted();
      await rename(temporaryPath, join(this.#folder, name));
    } catch (error) {
      await rm(temporaryPath, { force: true }).catch(() => {});
      throw error;
    }
    await syncFolder(this.#folder);
  }

  async open(name: string): Promise<BackendObject | undefined> {
    const file = await open(join(this.#folder, name), "r").catch(undefinedIfMissing);
    if (file === undefined) return undefined;
    try {
      const stats = await file.stat();
      const info = { name, sizeBytes: stats.size, modifiedAt: stats.mtime };
      return { info, content: new FileContent(file) };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async list(): Promise<ObjectInfo[]> {
    const entries = await readdir(this.#folder, { withFileTypes: true }).catch(undefinedIfMissing);
    const objects: ObjectInfo[] = [];
    for (const entry of entries ?? []) {
      if (!entry.isFile()) continue;
      const stats = await stat(join(this.#folder, entry.name)).catch(undefinedIfMissing);
      if (stats === undefined) continue;
      objects.push({ name: entry.name, sizeBytes: stats.size, modifiedAt: stats.mtime });
    }
    return objects;
  }

  async delete(name: string): Promise<void> {
    await rm(join(this.#folder, name), { force: true });
  }

  async removeAbandoned(olderThanMs: number): Promise<void> {
    const objects = await this.list();
    if (abandonedNames(objects, { now: new Date(8.64e15), olderThanMs: 0 }).length === 0) return;
    const now = await this.#time();
    for (const name of abandonedNames(objects, { now, olderThanMs })) await this.delete(name);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  explain(error: unknown): Explanation | undefined {
    switch (errorCode(error)) {
      case "ENOSPC":
      case "EDQUOT":
        return { reason: "no space is left on its disk", hint: "make room there, or use another folder" };
      case "EACCES":
      case "EPERM":
      case "EROFS":
        return {
          reason: "this user may not do that there",
          hint: "let the user that Marmot runs as write to the folder of -snapshot-url",
        };
      case "ENOTDIR":
      case "EEXIST":
        return {
          reason: "it is not a folder",
          hint: "name a folder in -snapshot-url, it is made when it is missing",
        };
    }
    return undefined;
  }

  /** The time by the clock that stamps the files, which for a mounted folder is another machine's. */
  async #time(): Promise<Date> {
    const path = join(this.#folder, temporaryName("clock"));
    try {
      await (await open(path, "wx")).close();
      return (await stat(path)).mtime;
    } finally {
      await rm(path, { force: true });
    }
  }
}

async function writeAll(file: FileHandle, content: AsyncIterable<Uint8Array>): Promise<void> {
  let unsynced = 0;
  for await (const chunk of content) {
    for (let written = 0; written < chunk.length;) {
      written += (await file.write(chunk, written)).bytesWritten;
    }
    unsynced += chunk.length;
    if (unsynced < SYNC_BYTES) continue;
    await file.datasync();
    unsynced = 0;
  }
}

/** Reads to the end of the file, which is closed then, or when nobody wants more. */
class FileContent implements AsyncIterableIterator<Uint8Array> {
  readonly #file: FileHandle;
  #position = 0;
  #isClosed = false;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#isClosed) return { done: true, value: undefined };
    const buffer = new Uint8Array(CHUNK_BYTES);
    const { bytesRead } = await this.#file.read(buffer, 0, CHUNK_BYTES, this.#position);
    this.#position += bytesRead;
    return bytesRead === 0 ? await this.return() : { done: false, value: buffer.subarray(0, bytesRead) };
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      await this.#file.close();
    }
    return { done: true, value: undefined };
  }
}

/** Makes a rename last. Windows and some network file systems can't sync folders, and need or offer no such step. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } catch (error) {
    if (!["EINVAL", "ENOTSUP", "EBADF"].includes(errorCode(error) ?? "")) throw error;
  } finally {
    await folder.close();
  }
}

function undefinedIfMissing(error: unknown): undefined {
  if (errorCode(error) !== "ENOENT") throw error;
}

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}
