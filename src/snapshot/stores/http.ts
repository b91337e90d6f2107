/** One HTTP request to a store (S3, WebDAV): an unexpected status is an error, and errors are told in words. */

import { errorText } from "../../errors.ts";
import type { Explanation } from "./backend.ts";
import { childText, parseXml } from "./xml.ts";

/** As much of an error's body as is looked at. */
const MAX_DETAIL_BYTES = 16 * 1024;

export class HttpStatusError extends Error {
  override readonly name = "HttpStatusError";
  readonly status: number;
  /** S3's word for it, like NoSuchBucket; undefined where the server gives none. */
  readonly code: string | undefined;

  constructor(status: number, { code, text }: { code: string | undefined; text: string }) {
    super(`the server answers ${status}${text === "" ? "" : ` (${text})`}`);
    this.status = status;
    this.code = code;
  }
}

/** Gives the response if its status is among `expected`, else throws HttpStatusError. Follows no redirect. */
export async function checkStatus(response: Response, expected: readonly number[]): Promise<Response> {
  if (expected.includes(response.status)) return response;
  const body = await readStart(response).catch(() => "");
  const xml = parseXml(body);
  const code = xml && childText(xml, "Code");
  const location = response.status >= 300 && response.status < 400
    ? redirectTarget(response.headers.get("location"))
    : undefined;
  const text = location ?? (code ? [code, childText(xml!, "Message")].filter(Boolean).join(": ") : "");
  throw new HttpStatusError(response.status, { code, text: text.replaceAll(/\s+/g, " ").slice(0, 300) });
}

/** Reads the body to its end: a connection whose response is left lying can't be used again. */
export async function discardBody(response: Response): Promise<void> {
  await response.body?.cancel();
}

/**
 * The body, given up as soon as the signal aborts. The signal that fetch was given does not always reach a body
 * that is waited for: the request which ties them may have been collected as garbage.
 */
export function bodyContent(response: Response, signal: AbortSignal): AsyncIterableIterator<Uint8Array> {
  const reader = response.body?.getReader();
  const cancel = async () => {
    signal.removeEventListener("abort", cancel);
    await reader?.cancel(signal.reason).catch(() => {});
  };
  signal.addEventListener("abort", cancel, { once: true });
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      const step = await reader?.read();
      signal.throwIfAborted();
      if (step?.value !== undefined) return { done: false, value: step.value };
      return await this.return!();
    },
    async return() {
      await cancel();
      return { done: true, value: undefined };
    },
  };
}

/** What failed, by status or by the network. */
export function explainHttp(error: unknown, credentials: string): Explanation | undefined {
  if (error instanceof HttpStatusError) {
    const reason = error.message;
    if (error.status === 401 || error.status === 403) {
      return { reason: `${reason}: it refuses the credentials`, hint: `check ${credentials}` };
    }
    if (error.status === 507) {
      return { reason: `${reason}: no space is left there`, hint: "make room in the snapshot store" };
    }
    return { reason };
  }
  if (!(error instanceof TypeError)) return undefined;
  // Deno: "error sending request for url (…): client error (Connect): tcp connect error: Connection refused".
  const reason = errorText(error).replace(/^error sending request[^:]* \([^ ]*\): /, "")
    .replace(/^(client error|connection error|request or response body error).*?: /, "");
  const isCertificate = /certificate|UnknownIssuer/i.test(reason);
  return {
    reason: `cannot reach the server: ${reason}`,
    hint: isCertificate
      ? "use a certificate that this machine trusts"
      : "check the host and port of -snapshot-url, and that the server runs",
  };
}

/** Where a redirect leads, without what may be secret. */
function redirectTarget(location: string | null): string | undefined {
  if (location === null || !URL.canParse(location)) return "it redirects elsewhere";
  const { origin, pathname } = new URL(location);
  return `it redirects to ${origin}${pathname}`;
}

async function readStart(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= MAX_DETAIL_BYTES) break;
  }
  return await new Blob(chunks as BlobPart[]).text();
}
