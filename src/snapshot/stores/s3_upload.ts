/**
 * One object on its way into S3: small ones in one request, others in parts. Invariant: nothing is to be seen under
 * the name before all bytes are there, and what was not completed is called off.
 */

import { ExplainedError } from "./backend.ts";
import { discardBody } from "./http.ts";
import type { S3Request } from "./s3_store.ts";
import { childText, escapeXml, parseXml } from "./xml.ts";

/** All parts but the last have this size (Cloudflare's R2 wants them equal). */
const PART_BYTES = 6 * 1024 * 1024;
/** S3 takes so many; together 58 GiB. */
const MAX_PARTS = 10_000;
/** How many parts there are in memory: being sent, or being filled. */
const PARTS_IN_MEMORY = 2;
const TIDY_TIMEOUT_MS = 5_000;

type Send = (request: S3Request) => Promise<Response>;

interface Target {
  readonly name: string;
  readonly signal: AbortSignal;
}

export class S3Upload {
  readonly #send: Send;
  readonly #target: Target;

  constructor(send: Send, target: Target) {
    this.#send = send;
    this.#target = target;
  }

  async run(content: AsyncIterable<Uint8Array>): Promise<void> {
    const parts = cutIntoParts(content);
    const first = await parts.next();
    const body = first.done ? new Uint8Array() : first.value;
    if (body.length < PART_BYTES) {
      this.#target.signal.throwIfAborted();
      return await discardBody(await this.#send({ ...this.#target, method: "PUT", body, expected: [200] }));
    }
    const uploadId = await this.#begin();
    try {
      const etags = await this.#sendParts(uploadId, { first: body, rest: parts });
      this.#target.signal.throwIfAborted();
      await this.#complete(uploadId, etags);
    } catch (error) {
      const signal = AbortSignal.timeout(TIDY_TIMEOUT_MS);
      const abort = { name: this.#target.name, method: "DELETE", query: { uploadId }, signal };
      await this.#send({ ...abort, expected: [200, 204, 404] }).then(discardBody).catch(() => {});
      throw error;
    } finally {
      await parts.return();
    }
  }

  async #begin(): Promise<string> {
    const request = { ...this.#target, method: "POST", query: { uploads: "" }, expected: [200] };
    const answer = parseXml(await (await this.#send(request)).text());
    const uploadId = answer && childText(answer, "UploadId");
    if (!uploadId) throw new ExplainedError("the server does not answer in S3's way");
    return uploadId;
  }

  /** The tags of all parts, in order. */
  async #sendParts(
    uploadId: string,
    { first, rest }: { first: Part; rest: AsyncGenerator<Part, void, void> },
  ): Promise<string[]> {
    const etags: string[] = [];
    const underWay: Promise<void>[] = [];
    const failed = new AbortController();
    const signal = AbortSignal.any([this.#target.signal, failed.signal]);
    const send = async (number: number, body: Part) => {
      const query = { partNumber: String(number), uploadId };
      const request = { name: this.#target.name, method: "PUT", query, body, signal, expected: [200] };
      const response = await this.#send(request);
      const etag = response.headers.get("etag");
      await discardBody(response);
      if (etag === null) throw new ExplainedError("the server does not answer in S3's way");
      etags[number - 1] = etag;
    };
    let count = 0;
    const start = (body: Part) => {
      if (++count > MAX_PARTS) throw new ExplainedError(`it is larger than ${MAX_PARTS} parts of 6 MiB`);
      const sending = send(count, body);
      // Looked at when its turn comes.
      sending.catch(() => {});
      underWay.push(sending);
    };
    try {
      start(first);
      for await (const body of rest) {
        start(body);
        // The next part is filled into the memory of the oldest one.
        if (underWay.length >= PARTS_IN_MEMORY) await underWay.shift();
      }
      await Promise.all(underWay);
      return etags;
    } catch (error) {
      failed.abort(error);
      await Promise.allSettled(underWay);
      throw error;
    }
  }

  async #complete(uploadId: string, etags: readonly string[]): Promise<void> {
    const parts = etags.map((etag, index) =>
      `<Part><PartNumber>${index + 1}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`
    );
    const document = '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
      `${parts.join("")}</CompleteMultipartUpload>`;
    const body = new TextEncoder().encode(document);
    const request = { ...this.#target, method: "POST", query: { uploadId }, body, expected: [200] };
    const response = await this.#send({ ...request, isOnce: true });
    // S3 begins its answer before it knows how it ends: a failure comes with status 200.
    const answer = parseXml(await response.text());
    if (answer?.name === "CompleteMultipartUploadResult") return;
    const reason = answer?.name === "Error"
      ? childText(answer, "Message") ?? childText(answer, "Code")
      : undefined;
    throw new ExplainedError(`the server does not put the parts together${reason ? `: ${reason}` : ""}`);
  }
}

type Part = Uint8Array<ArrayBuffer>;

/** The same bytes in parts of one size; the last may be smaller. A part is good until the second one after it. */
async function* cutIntoParts(content: AsyncIterable<Uint8Array>): AsyncGenerator<Part, void, void> {
  const memory = Array.from({ length: PARTS_IN_MEMORY }, () => new Uint8Array(PART_BYTES));
  let count = 0;
  let filled = 0;
  const part = () => memory[count % PARTS_IN_MEMORY]!;
  for await (const chunk of content) {
    for (let taken = 0; taken < chunk.length;) {
      const piece = chunk.subarray(taken, taken + PART_BYTES - filled);
      part().set(piece, filled);
      filled += piece.length;
      taken += piece.length;
      if (filled < PART_BYTES) continue;
      yield part();
      count++;
      filled = 0;
    }
  }
  if (filled > 0) yield part().subarray(0, filled);
}
