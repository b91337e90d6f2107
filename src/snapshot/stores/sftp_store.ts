/**
 * Snapshots on an SFTP server. An object is uploaded under a temporary name and renamed over the old one. Every
 * piece of work has an SSH connection of its own: one that breaks takes nothing else with it.
 */

import type { Buffer } from "node:buffer";
import type { ObjectInfo } from "../snapshot_store.ts";
import {
  abandonedNames,
  type Backend,
  type BackendObject,
  type Explanation,
  temporaryName,
  type WriteOptions,
} from "./backend.ts";
import { type SftpServer, SftpSession, SftpStatus, undefinedIfMissing } from "./sftp_session.ts";

export interface SftpPlace extends SftpServer {
  /** Absolute, or relative to the folder in which a session begins. */
  readonly folder: string;
}

/** Every server takes and gives pieces of this size. Source: draft-ietf-secsh-filexfer-02 section 3. */
const PIECE_BYTES = 32 * 1024;
/** Requests that are under way at a time, so that the way to the server and back is not waited for: 1 MiB. */
const WINDOW = 32;
const TIDY_TIMEOUT_MS = 5_000;

export class SftpStore implements Backend {
  readonly location: string;
  readonly #place: SftpPlace;

  constructor(place: SftpPlace) {
    this.#place = place;
    const { user, host, port, folder } = place;
    this.location = `sftp://${encodeURIComponent(user)}@${host}:${port}${
      folder.startsWith("/") ? "" : "/~/"
    }${folder}`;
  }

  async write(name: string, content: AsyncIterable<Uint8Array>, { signal }: WriteOptions): Promise<void> {
    await using session = await this.#open(signal);
    await makeFolders(session, this.#place.folder);
    const temporary = this.#path(temporaryName(name));
    try {
      const handle = await session.openFile(temporary, "wx");
      await writePieces(session, handle, content);
      await session.sync(handle);
      await session.closeFile(handle);
      signal.throwIfAborted();
      await session.replace(temporary, this.#path(name));
    } catch (error) {
      await this.#tidy(temporary).catch(() => {});
      throw error;
    }
  }

  async open(name: string, signal: AbortSignal): Promise<BackendObject | undefined> {
    const session = await this.#open(signal);
    try {
      const handle = await session.openFile(this.#path(name), "r").catch(undefinedIfMissing);
      if (handle === undefined) {
        await session[Symbol.asyncDispose]();
        return undefined;
      }
      const stats = await session.statFile(handle);
      const info = { name, sizeBytes: stats.size, modifiedAt: new Date(stats.mtime * 1000) };
      return { info, content: new SftpContent(session, { handle, sizeBytes: stats.size }) };
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
  }

  async list(signal: AbortSignal): Promise<ObjectInfo[]> {
    await using session = await this.#open(signal);
    return await this.#look(session);
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    await using session = await this.#open(signal);
    await session.remove(this.#path(name));
  }

  async removeAbandoned(olderThanMs: number, signal: AbortSignal): Promise<void> {
    await using session = await this.#open(signal);
    const objects = await this.#look(session);
    if (abandonedNames(objects, { now: new Date(8.64e15), olderThanMs: 0 }).length === 0) return;
    const now = await this.#time(session);
    for (const name of abandonedNames(objects, { now, olderThanMs })) {
      await session.remove(this.#path(name));
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  explain(error: unknown): Explanation | undefined {
    if (!(error instanceof Error)) return undefined;
    const code = "code" in error ? error.code : undefined;
    const level = "level" in error ? error.level : undefined;
    if (level === "client-authentication") {
      return {
        reason: "the server refuses the credentials",
        hint: "check the user, and the password, key or agent that -snapshot-url and the environment name",
      };
    }
    if (level === "client-socket" || level === "client-timeout" || level === "client-dns") {
      return {
        reason: `cannot reach the server: ${error.message}`,
        hint: "check the host and port of -snapshot-url, and that the server runs",
      };
    }
    if (code === SftpStatus.permissionDenied) {
      return {
        reason: "this user may not do that there",
        hint: `let the user "${this.#place.user}" read and write the folder`,
      };
    }
    return { reason: `the server reports: ${error.message}` };
  }

  async #open(signal: AbortSignal): Promise<SftpSession> {
    return await SftpSession.open(this.#place, signal);
  }

  async #look(session: SftpSession): Promise<ObjectInfo[]> {
    const entries = await session.readFolder(this.#place.folder) ?? [];
    return entries.filter(({ attrs }) => attrs.isFile()).map(({ filename, attrs }) => ({
      name: filename,
      sizeBytes: attrs.size,
      modifiedAt: new Date(attrs.mtime * 1000),
    }));
  }

  /** The server's time, which its protocol does not tell: that of a file just made. */
  async #time(session: SftpSession): Promise<Date> {
    const path = this.#path(temporaryName("clock"));
    const handle = await session.openFile(path, "wx");
    try {
      return new Date((await session.statFile(handle)).mtime * 1000);
    } finally {
      await session.closeFile(handle);
      await session.remove(path);
    }
  }

  /** Removes an unfinished object, over a new connection: the old one may be the reason why it is unfinished. */
  async #tidy(path: string): Promise<void> {
    await using session = await this.#open(AbortSignal.timeout(TIDY_TIMEOUT_MS));
    await session.remove(path);
  }

  #path(name: string): string {
    return `${this.#place.folder.replace(/\/$/, "")}/${name}`;
  }
}

async function makeFolders(session: SftpSession, folder: string): Promise<void> {
  const missing: string[] = [];
  let path = folder.replace(/(.)\/+$/, "$1");
  while (path !== "" && path !== "/" && !await session.exists(path)) {
    missing.push(path);
    path = path.slice(0, Math.max(path.lastIndexOf("/"), 0));
  }
  for (const folder of missing.reverse()) await session.makeFolder(folder);
}

/** Writes one piece after the other, many of them under way at a time. */
async function writePieces(
  session: SftpSession,
  handle: Buffer,
  content: AsyncIterable<Uint8Array>,
): Promise<void> {
  const underWay: Promise<void>[] = [];
  let position = 0;
  for await (const chunk of content) {
    for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
      const piece = chunk.subarray(start, start + PIECE_BYTES);
      const writing = session.write(handle, piece, position);
      // Looked at when its turn comes.
      writing.catch(() => {});
      underWay.push(writing);
      position += piece.length;
      if (underWay.length >= WINDOW) await underWay.shift();
    }
  }
  await Promise.all(underWay);
}

/** Reads up to `sizeBytes`, many pieces ahead; ends early where the file does. */
class SftpContent implements AsyncIterableIterator<Uint8Array> {
  readonly #session: SftpSession;
  readonly #handle: Buffer;
  readonly #sizeBytes: number;
  readonly #ahead: Promise<Uint8Array>[] = [];
  #position = 0;
  #isDone = false;

  constructor(session: SftpSession, { handle, sizeBytes }: { handle: Buffer; sizeBytes: number }) {
    this.#session = session;
    this.#handle = handle;
    this.#sizeBytes = sizeBytes;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    while (!this.#isDone && this.#ahead.length < WINDOW && this.#position < this.#sizeBytes) {
      const length = Math.min(PIECE_BYTES, this.#sizeBytes - this.#position);
      const reading = this.#readPiece(this.#position, length);
      reading.catch(() => {});
      this.#ahead.push(reading);
      this.#position += length;
    }
    const piece = await this.#ahead.shift();
    if (piece === undefined || piece.length === 0) return await this.return();
    // What comes behind a piece that ended early would stand in the wrong place.
    if (piece.length < PIECE_BYTES) this.#ahead.length = Math.min(this.#ahead.length, 0);
    return { done: false, value: piece };
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (!this.#isDone) {
      this.#isDone = true;
      await this.#session[Symbol.asyncDispose]();
    }
    return { done: true, value: undefined };
  }

  /** Servers may give less than they are asked for: goes on until all is there, or the file ends. */
  async #readPiece(position: number, length: number): Promise<Uint8Array> {
    const piece = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const count = await this.#session.read(this.#handle, piece.subarray(filled), position + filled);
      if (count === 0) break;
      filled += count;
    }
    return piece.subarray(0, filled);
  }
}
