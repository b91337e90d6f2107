/**
 * NATS URLs as an operator writes them: `nats://` or `tls://`, several with commas, credentials inside
 * (`user:password@` or `token@`). The client library takes no credentials from URLs, so they are taken out here.
 */
import { MarmotError } from "../errors.ts";

const DEFAULT_PORT = "4222";

export interface BrokerAddress {
  /** `host:port` of each server, in the order given. */
  readonly servers: readonly string[];
  /** Whether the connection must be encrypted. */
  readonly tls: boolean;
  readonly credentials: Credentials | undefined;
}

export type Credentials =
  | { readonly user: string; readonly pass: string }
  | { readonly token: string };

/** Reads URLs, each of which may be a list with commas. Throws MarmotError (usage) that shows no password. */
export function parseBrokerAddress(urls: readonly string[]): BrokerAddress {
  const texts = urls.flatMap((url) => url.split(",")).map((url) => url.trim()).filter((url) => url !== "");
  if (texts.length === 0) {
    throw new MarmotError("usage", "Cannot connect to NATS: no URL is given", {
      hint: "set nats-url to a URL like nats://127.0.0.1:4222",
    });
  }
  const servers: string[] = [];
  let tls = false;
  let credentials: Credentials | undefined;
  for (const text of texts) {
    const url = parseUrl(text);
    tls ||= url.protocol === "tls:";
    const own = credentialsOf(url);
    if (own !== undefined) {
      if (credentials !== undefined && JSON.stringify(credentials) !== JSON.stringify(own)) {
        throw new MarmotError("usage", "Cannot connect to NATS: the URLs carry different credentials", {
          hint: "give all NATS URLs the same user and password, or the same token",
        });
      }
      credentials = own;
    }
    servers.push(`${url.hostname}:${url.port || DEFAULT_PORT}`);
  }
  return { servers, tls, credentials };
}

function parseUrl(text: string): URL {
  try {
    const url = new URL(text.includes("://") ? text : `nats://${text}`);
    const isKnown = url.protocol === "nats:" || url.protocol === "tls:";
    if (isKnown && url.hostname !== "" && /^\/?$/.test(url.pathname) && url.search + url.hash === "") {
      decodeURIComponent(url.username + url.password);
      return url;
    }
  } catch {
    // Falls through to the one message for all that is no NATS URL.
  }
  // The end of the credentials is the last @: a password with a slash in it is the likeliest mistake.
  const shown = text.replace(/^([a-z]+:\/\/)?.*@/i, "$1***@");
  throw new MarmotError("usage", `Cannot read the NATS URL ${JSON.stringify(shown)}`, {
    hint: "write nats://host:port or tls://host:port; in user:password@ write special characters as %XX",
  });
}

/** A user without a password is a token, as in the original's client. */
function credentialsOf(url: URL): Credentials | undefined {
  if (url.username === "") return undefined;
  const user = decodeURIComponent(url.username);
  return url.password === "" ? { token: user } : { user, pass: decodeURIComponent(url.password) };
}
