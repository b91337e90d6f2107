/**
 * Where snapshots are kept, as one URL says it. Everything that can be refused without the network is refused
 * here. No reason repeats the URL, for it may hold a password.
 */

import { fileURLToPath } from "node:url";
import { InvalidValueError } from "../config/option.ts";

/** What a URL says; secrets and settings that it leaves out are taken from the environment when it is opened. */
export type SnapshotPlace =
  | { readonly kind: "nats" }
  | { readonly kind: "file"; readonly folder: string }
  | S3Url
  | SftpUrl
  | WebdavUrl;

interface Credentials {
  readonly user: string | undefined;
  readonly password: string | undefined;
}

export interface S3Url extends Credentials {
  readonly kind: "s3";
  readonly bucket: string;
  /** Empty, or ends with a slash. */
  readonly prefix: string;
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
  readonly isPathStyle: boolean;
}

export interface SftpUrl extends Credentials {
  readonly kind: "sftp";
  readonly user: string;
  readonly host: string;
  readonly port: number;
  readonly folder: string;
  readonly knownHostsPath: string | undefined;
  readonly fingerprint: string | undefined;
  readonly keyPath: string | undefined;
}

export interface WebdavUrl extends Credentials {
  readonly kind: "webdav";
  /** http or https, without credentials. */
  readonly url: string;
}

const HINT = "Write nats://, file:///folder, s3://bucket/prefix, sftp://user@host/folder or " +
  "webdavs://host/folder; percent-encode / : @ ? # in user names and passwords.";

/** Reads a URL. Throws InvalidValueError. */
export function parseSnapshotUrl(text: string): SnapshotPlace {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) throw new InvalidValueError("it does not begin with a scheme like file://", HINT);
  // A URL without a host is none for the parser.
  if (scheme === "nats") return parseNats(text);
  let url: URL;
  try {
    url = new URL(text);
    decodeURIComponent(url.username + url.password + url.pathname);
  } catch {
    throw new InvalidValueError("it is not a URL", HINT);
  }
  if (url.hash !== "") throw new InvalidValueError("it goes on after a #", HINT);
  switch (scheme) {
    case "file":
      return parseFile(url);
    case "s3":
      return parseS3(url);
    case "sftp":
      return parseSftp(url);
    case "webdav":
    case "webdavs":
      return parseWebdav(url);
  }
  throw new InvalidValueError(`it begins with ${scheme}://, which is no kind of snapshot store`, HINT);
}

function parseNats(text: string): SnapshotPlace {
  if (/^nats:\/\/\/?$/i.test(text)) return { kind: "nats" };
  throw new InvalidValueError(
    "nats:// must be all of it, because the snapshots are kept on the servers of -nats-url",
    HINT,
  );
}

function parseFile(url: URL): SnapshotPlace {
  readParameters(url, []);
  if (url.hostname !== "" && url.hostname !== "localhost") {
    throw new InvalidValueError("a file:// URL names no host", "Write three slashes: file:///folder");
  }
  url.hostname = "";
  const folder = fileURLToPath(url);
  if (folder.includes("\0")) throw new InvalidValueError("a path can't hold a NUL character");
  if (url.pathname === "/") throw new InvalidValueError("it names no folder", "Write file:///folder");
  return { kind: "file", folder: folder.replace(/(.)\/+$/, "$1") };
}

function parseS3(url: URL): S3Url {
  const parameters = readParameters(url, ["endpoint", "region", "path-style"]);
  const bucket = url.hostname;
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) || url.port !== "") {
    throw new InvalidValueError("after s3:// must come the name of a bucket", HINT);
  }
  const endpoint = parameters.get("endpoint");
  if (endpoint !== undefined && !isEndpoint(endpoint)) {
    throw new InvalidValueError(
      "its endpoint must be like https://host:port",
      "Credentials stand before the bucket, or in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    );
  }
  const region = parameters.get("region");
  if (region !== undefined && !/^[a-z0-9-]+$/.test(region)) {
    throw new InvalidValueError("its region must be a word like eu-central-1");
  }
  const { user, password } = readCredentials(url);
  if ((user === undefined) !== (password === undefined)) {
    throw new InvalidValueError("it must hold both the access key and its secret, or neither", HINT);
  }
  const prefix = decodeURIComponent(url.pathname).replaceAll(/^\/+|\/+$/g, "");
  return {
    kind: "s3",
    bucket,
    prefix: prefix === "" ? "" : `${prefix}/`,
    endpoint: endpoint === undefined ? undefined : new URL(endpoint).href.replace(/\/$/, ""),
    region,
    // Few servers of one's own have a name in the DNS for every bucket.
    isPathStyle: readSwitch(parameters, "path-style") ?? (endpoint !== undefined || bucket.includes(".")),
    user,
    password,
  };
}

function parseSftp(url: URL): SftpUrl {
  const parameters = readParameters(url, ["known-hosts", "fingerprint", "key"]);
  const { user, password } = readCredentials(url);
  const path = decodeURIComponent(url.pathname);
  if (url.hostname === "") throw new InvalidValueError("it names no host", HINT);
  if (user === undefined) throw new InvalidValueError("it names no user", "Write sftp://user@host/folder");
  if (url.port === "0") throw new InvalidValueError("it has port 0", HINT);
  if (/^\/*(~\/*)?$/.test(path)) {
    throw new InvalidValueError(
      "it names no folder",
      "Write sftp://user@host/folder, or sftp://user@host/~/folder for one in the user's own folder.",
    );
  }
  const fingerprint = parameters.get("fingerprint")?.replace(/=+$/, "");
  if (fingerprint !== undefined && !/^SHA256:[A-Za-z0-9+/]{43}$/.test(fingerprint)) {
    throw new InvalidValueError(
      "its fingerprint must be like SHA256: and 43 characters",
      "ssh-keygen -lf prints it for the server's public key; write + as %2B in a URL.",
    );
  }
  return {
    kind: "sftp",
    user,
    password,
    host: url.hostname.replaceAll(/^\[|\]$/g, ""),
    port: url.port === "" ? 22 : Number(url.port),
    folder: path.replace(/^\/~\/+/, "").replace(/(.)\/+$/, "$1"),
    knownHostsPath: parameters.get("known-hosts"),
    fingerprint,
    keyPath: parameters.get("key"),
  };
}

function parseWebdav(url: URL): WebdavUrl {
  readParameters(url, []);
  if (url.hostname === "") throw new InvalidValueError("it names no host", HINT);
  const { user, password } = readCredentials(url);
  const plain = `${url.protocol.replace("webdav", "http")}//${url.host}${url.pathname}`;
  if (!URL.canParse(plain)) throw new InvalidValueError("it is not a URL", HINT);
  return { kind: "webdav", url: new URL(plain).href, user, password };
}

/** The parameters behind the question mark, of which only these are known. */
function readParameters(url: URL, known: readonly string[]): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const [name, value] of url.searchParams) {
    if (!known.includes(name) || parameters.has(name) || value === "") {
      const allowed = known.length === 0 ? "none is known there" : `known are ${known.join(", ")}, each once`;
      // A value may be a secret, and so may a name that is one by mistake.
      throw new InvalidValueError(`a parameter after its ? can't be used: ${allowed}`, HINT);
    }
    // A space in a parameter is a plus that was not encoded, which base64 has many of.
    parameters.set(name, name === "fingerprint" ? value.replaceAll(" ", "+") : value);
  }
  return parameters;
}

function readSwitch(parameters: ReadonlyMap<string, string>, name: string): boolean | undefined {
  const value = parameters.get(name);
  if (value === undefined) return undefined;
  if (value !== "true" && value !== "false") throw new InvalidValueError(`its ${name} must be true or false`);
  return value === "true";
}

function readCredentials(url: URL): Credentials {
  return {
    user: url.username === "" ? undefined : decodeURIComponent(url.username),
    password: url.password === "" ? undefined : decodeURIComponent(url.password),
  };
}

function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && username + password + search + hash === "";
}
