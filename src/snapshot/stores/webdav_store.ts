/**
 * Snapshots on a WebDAV server (RFC 4918). An object is PUT under a temporary name and then MOVEd over the old
 * one. Nothing but fetch is needed. Redirects are not followed: they would take the credentials elsewhere.
 */

import { setTimeout as delay } from "node:timers/promises";
import type { ObjectInfo } from "../snapshot_store.ts";
import {
  abandonedNames,
  type Backend,
  type BackendObject,
  ExplainedError,
  type Explanation,
  temporaryName,
  type WriteOptions,
} from "./backend.ts";
import { bodyContent, checkStatus, discardBody, explainHttp } from "./http.ts";
import { childrenNamed, childText, parseXml, type XmlElement } from "./xml.ts";

export interface WebdavPlace {
  /** http or https, without credentials, query or fragment. */
  readonly url: string;
  readonly user: string | undefined;
  readonly password: string | undefined;
}

/** How long the removal of an unfinished object may take when the writing was given up. */
const TIDY_TIMEOUT_MS = 5_000;

const LOCKED_TRIES = 30;
const LOCKED_RETRY_MS = 100;

const PROPERTIES = '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>' +
  "<resourcetype/><getcontentlength/><getlastmodified/></prop></propfind>";

interface Request {
  readonly method: string;
  /** Of an object; the folder itself when left out. */
  readonly name?: string;
  readonly signal: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: BodyInit;
  readonly expected: readonly number[];
}

export class WebdavStore implements Backend {
  readonly location: string;
  /** Ends with a slash. */
  readonly #folder: URL;
  readonly #authorization: Readonly<Record<string, string>>;

  constructor({ url, user, password }: WebdavPlace) {
    this.#folder = new URL(url.endsWith("/") ? url : `${url}/`);
    this.location = this.#folder.href.replace(/^http/, "webdav");
    const credentials = new TextEncoder().encode(`${user ?? ""}:${password ?? ""}`);
    this.#authorization = user === undefined ? {} : { authorization: `Basic ${credentials.toBase64()}` };
  }

  async write(name: string, content: AsyncIterable<Uint8Array>, { signal }: WriteOptions): Promise<void> {
    // Also asks for the credentials before anything is sent: a body can be sent once only.
    await this.#makeFolder(signal);
    const temporary = temporaryName(name);
    try {
      await this.#ask({
        method: "PUT",
        name: temporary,
        signal,
        headers: { "content-type": "application/octet-stream" },
        body: ReadableStream.from(content),
        expected: [200, 201, 204],
      });
      signal.throwIfAborted();
      await this.#move(temporary, name, signal);
    } catch (error) {
      await this.delete(temporary, AbortSignal.timeout(TIDY_TIMEOUT_MS)).catch(() => {});
      throw error;
    }
  }

  async open(name: string, signal: AbortSignal): Promise<BackendObject | undefined> {
    const response = await this.#send({ method: "GET", name, signal, expected: [200, 404] });
    if (response.status === 404) return await discardBody(response).then(() => undefined);
    const length = response.headers.get("content-length");
    if (length === null || !/^\d+$/.test(length)) {
      await discardBody(response);
      throw new ExplainedError("the server does not tell how long it is");
    }
    const info = {
      name,
      sizeBytes: Number(length),
      modifiedAt: parseTime(response.headers.get("last-modified")),
    };
    return { info, content: bodyContent(response, signal) };
  }

  async list(signal: AbortSignal): Promise<ObjectInfo[]> {
    return (await this.#look(signal)).objects;
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    await this.#ask({ method: "DELETE", name, signal, expected: [200, 202, 204, 404] });
  }

  async removeAbandoned(olderThanMs: number, signal: AbortSignal): Promise<void> {
    const { objects, now } = await this.#look(signal);
    for (const name of abandonedNames(objects, { now, olderThanMs })) await this.delete(name, signal);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  explain(error: unknown): Explanation | undefined {
    return explainHttp(error, "the user and password in -snapshot-url or MARMOT_SNAPSHOT_PASSWORD");
  }

  /** Everything in the folder, and the server's time. */
  async #look(signal: AbortSignal): Promise<{ objects: ObjectInfo[]; now: Date }> {
    const response = await this.#send({
      method: "PROPFIND",
      signal,
      headers: { depth: "1", "content-type": "application/xml" },
      body: PROPERTIES,
      expected: [207, 404],
    });
    const now = parseTime(response.headers.get("date"));
    if (response.status === 404) {
      await discardBody(response);
      return { objects: [], now };
    }
    const answer = parseXml(await response.text());
    if (answer?.name !== "multistatus") {
      throw new ExplainedError("the server does not answer in WebDAV's way");
    }
    return { objects: childrenNamed(answer, "response").flatMap((entry) => readEntry(entry) ?? []), now };
  }

  /** Makes the folder and those above it, as far as they are missing. */
  async #makeFolder(signal: AbortSignal): Promise<void> {
    const missing: string[] = [];
    for (let url = this.#folder.href;; url = new URL("..", url).href) {
      if (await this.#exists(url, signal) || new URL(url).pathname === "/") break;
      missing.push(url);
    }
    for (const url of missing.reverse()) {
      // 405: another writer has made it meanwhile.
      await this.#askUnlocked({ method: "MKCOL", signal, expected: [201, 405] }, url);
    }
  }

  async #exists(url: string, signal: AbortSignal): Promise<boolean> {
    const headers = { depth: "0", "content-type": "application/xml" };
    const request = { method: "PROPFIND", signal, headers, body: PROPERTIES, expected: [207, 404, 409] };
    return await this.#ask(request, url) === 207;
  }

  async #move(from: string, to: string, signal: AbortSignal): Promise<void> {
    const headers = { destination: this.#url(to), overwrite: "T" };
    await this.#askUnlocked({ method: "MOVE", name: from, signal, headers, expected: [200, 201, 204] });
  }

  /** Servers lock what they change (423), so that one of two writers may have to wait for the other. */
  async #askUnlocked(request: Request, url?: string): Promise<void> {
    const { expected } = request;
    for (let tries = 1; tries < LOCKED_TRIES; tries++) {
      if (await this.#ask({ ...request, expected: [...expected, 423] }, url) !== 423) return;
      await delay(LOCKED_RETRY_MS, undefined, { signal: request.signal });
    }
    await this.#ask(request, url);
  }

  /** The status of the answer, whose body is of no interest. */
  async #ask(request: Request, url?: string): Promise<number> {
    const response = await this.#send(request, url);
    await discardBody(response);
    return response.status;
  }

  async #send(request: Request, url = this.#url(request.name ?? "")): Promise<Response> {
    const { method, signal, headers, body, expected } = request;
    const response = await fetch(url, {
      method,
      signal,
      redirect: "manual",
      // Compression on the way would hide the length.
      headers: { ...this.#authorization, "accept-encoding": "identity", ...headers },
      ...(body === undefined ? {} : { body }),
    });
    return await checkStatus(response, expected);
  }

  #url(name: string): string {
    return new URL(name, this.#folder).href;
  }
}

/** A file of the folder; undefined for folders, the asked one among them, and for what can't be read. */
function readEntry(entry: XmlElement): ObjectInfo | undefined {
  const href = childText(entry, "href");
  const properties = childrenNamed(entry, "propstat")
    .filter((status) => / 200( |$)/.test(childText(status, "status") ?? ""))
    .flatMap((status) => childrenNamed(status, "prop"))
    .flatMap((properties) => properties.children);
  const text = (name: string) => properties.find((property) => property.name === name)?.text.trim();
  const size = text("getcontentlength");
  const isFolder = properties.some(({ name, children }) =>
    name === "resourcetype" && children.some((child) => child.name === "collection")
  );
  if (href === undefined || isFolder || size === undefined || !/^\d+$/.test(size)) return undefined;
  // An object's name needs no escapes; one with others is not ours.
  const name = href.slice(href.lastIndexOf("/") + 1);
  return { name, sizeBytes: Number(size), modifiedAt: parseTime(text("getlastmodified")) };
}

/** Long ago where a server tells no time: then nothing that it holds is taken for newer than something else. */
function parseTime(text: string | null | undefined): Date {
  const time = new Date(text ?? 0);
  return Number.isNaN(time.getTime()) ? new Date(0) : time;
}
