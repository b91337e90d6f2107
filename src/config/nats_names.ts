/**
 * Names and addresses that a NATS server understands. They are checked when Marmot starts, so that a slip
 * is one sentence there and not a refusal by the server later.
 */

import { InvalidValueError } from "./option.ts";

/** The server's limit is 255 bytes; this leaves room for shard numbers and the snapshot store's names. */
const MAX_PREFIX_BYTES = 200;

// deno-lint-ignore no-control-regex
const NOT_PRINTABLE = /[\u0000-\u0020\u007f-\u00a0]/;

/** Start of a stream's name (ADR-6: printable, without space, dot, star, greater-than, slashes). */
export function parseStreamPrefix(value: string): string {
  checkLengthAndCharacters(value);
  if (/[.*>/\\]/.test(value)) {
    throw new InvalidValueError("a stream's name can't hold any of . * > / \\");
  }
  return value;
}

/** Start of a subject: tokens separated by dots, no wildcards, none of the server's own `$` subjects. */
export function parseSubjectPrefix(value: string): string {
  checkLengthAndCharacters(value);
  if (/[*>]/.test(value)) throw new InvalidValueError("a subject that is published to can't hold * or >");
  if (value.split(".").includes("")) {
    throw new InvalidValueError("a subject can't begin or end with a dot, or hold two in a row");
  }
  if (value.startsWith("$")) {
    throw new InvalidValueError("subjects that begin with $ belong to the server");
  }
  return value;
}

function checkLengthAndCharacters(value: string): void {
  if (value === "") throw new InvalidValueError("it must not be empty");
  if (NOT_PRINTABLE.test(value)) {
    throw new InvalidValueError("it must not hold spaces or characters that can't be printed");
  }
  if (new TextEncoder().encode(value).length > MAX_PREFIX_BYTES) {
    throw new InvalidValueError(`it must not be longer than ${MAX_PREFIX_BYTES} bytes`);
  }
}

/**
 * A comma separated list of servers, each `nats://[user[:password]@]host[:port]` or `tls://…`. An address
 * without a scheme gets `nats://`. Messages never hold an address, for it may hold a password.
 */
export function parseNatsUrls(value: string): readonly string[] {
  const urls = value.split(",").map((part) => part.trim());
  return Object.freeze(urls.map((url, index) => parseNatsUrl(url, describePlace(index, urls.length))));
}

const HINT =
  "Write it like nats://user:password@host:4222; percent-encode / : @ , in a user's name or password.";

function parseNatsUrl(text: string, place: string): string {
  if (text === "") throw new InvalidValueError(`${place} is empty`, HINT);
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `nats://${text}`;
  let url: URL;
  try {
    url = new URL(withScheme);
  } catch {
    throw new InvalidValueError(`${place} is not an address`, HINT);
  }
  if (url.protocol !== "nats:" && url.protocol !== "tls:") {
    throw new InvalidValueError(
      `${place} begins with ${url.protocol}//, but only nats:// and tls:// work`,
      HINT,
    );
  }
  if (url.hostname === "") throw new InvalidValueError(`${place} names no host`, HINT);
  if (url.port === "0") throw new InvalidValueError(`${place} has port 0`, HINT);
  if (!["", "/"].includes(url.pathname) || url.search !== "" || url.hash !== "") {
    throw new InvalidValueError(`${place} goes on after the port`, HINT);
  }
  return withScheme;
}

function describePlace(index: number, count: number): string {
  return count === 1 ? "the URL" : `URL ${index + 1} of ${count}`;
}
