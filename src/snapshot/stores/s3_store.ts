/**
 * Snapshots in a bucket of S3 or of a server that speaks its protocol. What is larger than one part goes up as a
 * multipart upload, which S3 shows only once it is completed. aws4fetch signs the requests; each part's SHA-256
 * is signed too, so that the server refuses one that was changed on the way.
 * Source: Amazon S3 API Reference; AWS Signature Version 4.
 */

import { AwsClient } from "aws4fetch";
import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { ObjectInfo } from "../snapshot_store.ts";
import {
  type Backend,
  type BackendObject,
  ExplainedError,
  type Explanation,
  type WriteOptions,
} from "./backend.ts";
import { bodyContent, checkStatus, discardBody, explainHttp, HttpStatusError } from "./http.ts";
import { S3Upload } from "./s3_upload.ts";
import { childrenNamed, childText, parseXml, type XmlElement } from "./xml.ts";

export interface S3Place {
  readonly bucket: string;
  /** What every key begins with; empty, or ends with a slash. */
  readonly prefix: string;
  /** Where the server is; Amazon's of the region when undefined. */
  readonly endpoint: string | undefined;
  readonly region: string;
  /** Whether the bucket is named in the path; otherwise in front of the host. */
  readonly isPathStyle: boolean;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | undefined;
}

const TRIES = 4;
const FIRST_RETRY_MS = 200;

export interface S3Request {
  readonly method: string;
  /** Of an object; the bucket itself when left out. */
  readonly name?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer>;
  readonly signal: AbortSignal;
  readonly expected: readonly number[];
  /** Sent once only: asking again after an answer that was lost would fail. */
  readonly isOnce?: boolean;
}

export class S3Store implements Backend {
  readonly location: string;
  readonly #place: S3Place;
  /** Ends with a slash. */
  readonly #bucketUrl: string;
  readonly #client: AwsClient;

  constructor(place: S3Place) {
    this.#place = place;
    const { bucket, prefix, endpoint, region, isPathStyle, sessionToken } = place;
    const url = new URL(endpoint ?? `https://s3.${region}.amazonaws.com`);
    if (!isPathStyle) url.hostname = `${bucket}.${url.hostname}`;
    this.#bucketUrl = url.href.replace(/\/?$/, isPathStyle ? `/${bucket}/` : "/");
    this.location = `s3://${bucket}/${prefix}${endpoint === undefined ? "" : ` at ${endpoint}`}`;
    this.#client = new AwsClient({
      accessKeyId: place.accessKeyId,
      secretAccessKey: place.secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: "s3",
      region,
    });
  }

  async write(name: string, content: AsyncIterable<Uint8Array>, { signal }: WriteOptions): Promise<void> {
    await new S3Upload((request) => this.#send(request), { name, signal }).run(content);
  }

  async open(name: string, signal: AbortSignal): Promise<BackendObject | undefined> {
    const response = await this.#send({ method: "GET", name, signal, expected: [200] }).catch((error) => {
      if (error instanceof HttpStatusError && error.status === 404 && error.code !== "NoSuchBucket") return;
      throw error;
    });
    if (response === undefined) return undefined;
    const length = response.headers.get("content-length");
    if (length === null || !/^\d+$/.test(length)) {
      await discardBody(response);
      throw new ExplainedError("the server does not tell how long it is");
    }
    const modifiedAt = readTime(response.headers.get("last-modified"));
    const info = { name, sizeBytes: Number(length), modifiedAt };
    return { info, content: bodyContent(response, signal) };
  }

  async list(signal: AbortSignal): Promise<ObjectInfo[]> {
    const query = { "list-type": "2", prefix: this.#place.prefix };
    const objects: ObjectInfo[] = [];
    for (let token: string | undefined = "";;) {
      const page: XmlElement = await this.#look(
        token === "" ? query : { ...query, "continuation-token": token },
        { signal, expected: "ListBucket" },
      );
      for (const entry of childrenNamed(page, "Contents")) {
        const name = this.#nameOf(entry);
        const size = childText(entry, "Size") ?? "";
        if (name === undefined || !/^\d+$/.test(size)) continue;
        objects.push({
          name,
          sizeBytes: Number(size),
          modifiedAt: readTime(childText(entry, "LastModified")),
        });
      }
      token = childText(page, "NextContinuationToken");
      if (childText(page, "IsTruncated") !== "true" || !token) return objects;
    }
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    await discardBody(await this.#send({ method: "DELETE", name, signal, expected: [200, 204] }));
  }

  /** Ends the uploads that have not got a part for long. More than a thousand at once wait for the next time. */
  async removeAbandoned(olderThanMs: number, signal: AbortSignal): Promise<void> {
    const query = { uploads: "", prefix: this.#place.prefix };
    const response = await this.#send({ method: "GET", query, signal, expected: [200] });
    const now = readTime(response.headers.get("date")).getTime();
    const page = readAnswer(await response.text(), "ListMultipartUploads");
    for (const upload of childrenNamed(page, "Upload")) {
      const name = this.#nameOf(upload);
      const uploadId = childText(upload, "UploadId");
      if (name === undefined || uploadId === undefined) continue;
      const begunAt = readTime(childText(upload, "Initiated")).getTime();
      if (now - begunAt < olderThanMs) continue;
      if (now - await this.#lastPartAt({ name, uploadId, begunAt }, signal) < olderThanMs) continue;
      const abort = { method: "DELETE", name, query: { uploadId }, signal, expected: [200, 204, 404] };
      await discardBody(await this.#send(abort));
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  explain(error: unknown): Explanation | undefined {
    const code = error instanceof HttpStatusError ? error.code : undefined;
    const reason = error instanceof HttpStatusError ? error.message : "";
    switch (code) {
      case "NoSuchBucket":
        return { reason, hint: `make the bucket "${this.#place.bucket}", or name another in -snapshot-url` };
      case "PermanentRedirect":
      case "AuthorizationHeaderMalformed":
        return { reason, hint: "give the bucket's region: s3://bucket/prefix?region=…" };
      case "RequestTimeTooSkewed":
        return { reason, hint: "set this machine's clock" };
    }
    return explainHttp(
      error,
      "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that this user may read, write, list and delete",
    );
  }

  /** When the newest part came, in ms; the upload's begin where it has none. */
  async #lastPartAt(
    { name, uploadId, begunAt }: { name: string; uploadId: string; begunAt: number },
    signal: AbortSignal,
  ): Promise<number> {
    let lastAt = begunAt;
    for (let marker = "0";;) {
      const query = { uploadId, "part-number-marker": marker };
      const page: XmlElement = await this.#look(query, { name, signal, expected: "ListParts" });
      for (const part of childrenNamed(page, "Part")) {
        lastAt = Math.max(lastAt, readTime(childText(part, "LastModified")).getTime());
      }
      const next = childText(page, "NextPartNumberMarker");
      if (childText(page, "IsTruncated") !== "true" || !next || next === marker) return lastAt;
      marker = next;
    }
  }

  async #look(
    query: Readonly<Record<string, string>>,
    { name, signal, expected }: { name?: string; signal: AbortSignal; expected: string },
  ): Promise<XmlElement> {
    const request = {
      method: "GET",
      query,
      signal,
      expected: [200],
      ...(name === undefined ? {} : { name }),
    };
    return readAnswer(await (await this.#send(request)).text(), expected);
  }

  /** Asks again where the server is busy, fails by itself, or can't be reached for a moment. */
  async #send(request: S3Request): Promise<Response> {
    for (let failures = 0;; failures++) {
      try {
        return await this.#sendOnce(request);
      } catch (error) {
        const isPassing = error instanceof HttpStatusError
          ? error.status >= 500 || error.status === 429
          : error instanceof TypeError;
        if (!isPassing || request.isOnce || failures + 1 >= TRIES) throw error;
      }
      await delay(FIRST_RETRY_MS * 2 ** failures * (0.5 + Math.random()), undefined, {
        signal: request.signal,
      });
    }
  }

  async #sendOnce({ method, name, query = {}, body, signal, expected }: S3Request): Promise<Response> {
    const url = new URL(name === undefined ? "" : encodeKey(this.#place.prefix + name), this.#bucketUrl);
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    const sha256 = createHash("sha256").update(body ?? "").digest("hex");
    // Only the body's sum is signed, so that no copy of the body is made for it.
    const { headers } = await this.#client.sign(url, { method, headers: { "x-amz-content-sha256": sha256 } });
    // Compression on the way would hide the length. Proxies change this header, so it is not signed.
    headers.set("accept-encoding", "identity");
    const options = { method, headers, signal, redirect: "manual" } as const;
    const response = await fetch(url, body === undefined ? options : { ...options, body });
    return await checkStatus(response, expected);
  }

  /** The object's name without the prefix; undefined for keys that can't be read. */
  #nameOf(entry: XmlElement): string | undefined {
    const key = childText(entry, "Key");
    return key?.startsWith(this.#place.prefix) ? key.slice(this.#place.prefix.length) : undefined;
  }
}

function encodeKey(key: string): string {
  return key.split("/").map(encodeURIComponent).join("/");
}

function readAnswer(text: string, expected: string): XmlElement {
  const answer = parseXml(text);
  // Servers do not agree on the second word: ListPartsResult, ListPartsResponse.
  if (answer?.name.replace(/(Result|Response)$/, "") !== expected) {
    throw new ExplainedError("the server does not answer in S3's way");
  }
  return answer;
}

function readTime(text: string | null | undefined): Date {
  const time = new Date(text ?? 0);
  return Number.isNaN(time.getTime()) ? new Date(0) : time;
}
