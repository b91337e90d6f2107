/**
 * The message that says what an object of NATS's object store is: JSON, the same for every client. Whoever may
 * write to the bucket may have written anything. Source: NATS ADR-20; what the original writes stands in
 * tests/golden/snapshot_v06.
 */

const DIGEST_PREFIX = "SHA-256=";

export interface ObjectMeta {
  readonly name: string;
  readonly bucket: string;
  /** The last token of the chunks' subject. */
  readonly nuid: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly chunkBytes: number;
  readonly sizeBytes: number;
  readonly chunks: number;
  readonly sha256: Uint8Array;
}

export function encodeObjectMeta(meta: ObjectMeta): Uint8Array {
  const { name, bucket, nuid, chunks } = meta;
  const headers = Object.entries(meta.headers).map(([key, value]) => [key, [value]]);
  const json = {
    name,
    // The original reads arrays of strings only.
    ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) }),
    options: { max_chunk_size: meta.chunkBytes },
    bucket,
    nuid,
    size: meta.sizeBytes,
    mtime: new Date().toISOString(),
    chunks,
    digest: DIGEST_PREFIX + meta.sha256.toBase64({ alphabet: "base64url" }),
  };
  return new TextEncoder().encode(JSON.stringify(json));
}

/** "deleted" for the note that another client leaves of an object; undefined for anything that is no object. */
export function parseObjectMeta(data: Uint8Array): ObjectMeta | "deleted" | undefined {
  const json = parseJson(data);
  if (json === undefined) return undefined;
  if (json["deleted"] === true) return "deleted";
  const { name, bucket, nuid, size, chunks, digest } = json;
  const sha256 = typeof digest === "string" ? parseDigest(digest) : undefined;
  if (typeof name !== "string" || typeof bucket !== "string" || sha256 === undefined) return undefined;
  if (typeof nuid !== "string" || !/^[A-Za-z0-9_-]{1,64}$/.test(nuid)) return undefined;
  if (!isCount(size) || !isCount(chunks)) return undefined;
  const options = asRecord(json["options"]);
  const chunkSize = options?.["max_chunk_size"];
  // A link to another object, which nothing of ours makes.
  if (options?.["link"] !== undefined) return undefined;
  return {
    name,
    bucket,
    nuid,
    headers: readHeaders(json["headers"]),
    chunkBytes: isCount(chunkSize) && chunkSize > 0 ? chunkSize : 128 * 1024,
    sizeBytes: size,
    chunks,
    sha256,
  };
}

function parseJson(data: Uint8Array): Record<string, unknown> | undefined {
  try {
    return asRecord(JSON.parse(new TextDecoder().decode(data)));
  } catch {
    return undefined;
  }
}

function parseDigest(text: string): Uint8Array | undefined {
  if (!text.startsWith(DIGEST_PREFIX)) return undefined;
  try {
    const bytes = Uint8Array.fromBase64(text.slice(DIGEST_PREFIX.length), { alphabet: "base64url" });
    return bytes.length === 32 ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** The first value of each; what is no header is left out. */
function readHeaders(value: unknown): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [key, values] of Object.entries(asRecord(value) ?? {})) {
    const first: unknown = Array.isArray(values) ? values[0] : undefined;
    if (typeof first === "string") headers[key] = first;
  }
  return headers;
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
