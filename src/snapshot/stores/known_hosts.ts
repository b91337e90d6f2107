/**
 * Whether an SSH server is the one it should be: its key against a known_hosts file, or against a fingerprint.
 * Source: OpenBSD manual sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
 */

import { Buffer } from "node:buffer";
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export type HostKeyVerdict = "known" | "unknown" | "changed" | "revoked";

export interface HostKey {
  readonly host: string;
  readonly port: number;
  /** The public key as it comes over the wire. */
  readonly key: Uint8Array;
}

/** "changed": the file has another key of the same type for this host, which is what an attack looks like. */
export function judgeHostKey(knownHosts: string, { host, port, key }: HostKey): HostKeyVerdict {
  const encoded = key.toBase64();
  let verdict: HostKeyVerdict = "unknown";
  for (const entry of entriesOf(knownHosts, { host, port })) {
    const isSame = entry.key === encoded;
    if (isSame && entry.marker === "@revoked") return "revoked";
    if (entry.marker !== undefined) continue;
    if (isSame) verdict = "known";
    else if (entry.type === keyType(key) && verdict === "unknown") verdict = "changed";
  }
  return verdict;
}

/** The types of the keys that the file has for this host, so that the server is asked for one of them. */
export function knownKeyTypes(knownHosts: string, address: { host: string; port: number }): string[] {
  const plain = entriesOf(knownHosts, address).filter(({ marker }) => marker === undefined);
  return [...new Set(plain.map(({ type }) => type))];
}

/** As ssh-keygen -l prints it: SHA256 and base64 without padding. */
export function hostKeyFingerprint(key: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/** The name of the key's type, its first field. Source: RFC 4253 section 6.6. */
export function keyType(key: Uint8Array): string {
  if (key.length < 4) return "";
  const length = new DataView(key.buffer, key.byteOffset).getUint32(0);
  return new TextDecoder().decode(key.subarray(4, 4 + length));
}

interface Entry {
  readonly marker: string | undefined;
  readonly type: string;
  readonly key: string;
}

function entriesOf(knownHosts: string, { host, port }: { host: string; port: number }): Entry[] {
  const name = host.toLowerCase();
  const address = port === 22 ? name : `[${name}]:${port}`;
  const entries: Entry[] = [];
  for (const line of knownHosts.split(/\r?\n/)) {
    const fields = line.trim().split(/[ \t]+/);
    const marker = fields[0]?.startsWith("@") ? fields.shift() : undefined;
    const [hosts = "", type = "", key = ""] = fields;
    if (hosts === "" || hosts.startsWith("#") || key === "") continue;
    if (isListed(hosts, address)) entries.push({ marker, type, key });
  }
  return entries;
}

function isListed(hosts: string, address: string): boolean {
  if (hosts.startsWith("|1|")) return isHashOf(hosts, address);
  const patterns = hosts.toLowerCase().split(",");
  const matches = (pattern: string) => patternExpression(pattern).test(address);
  if (patterns.some((pattern) => pattern.startsWith("!") && matches(pattern.slice(1)))) return false;
  return patterns.some((pattern) => !pattern.startsWith("!") && matches(pattern));
}

/** `|1|salt|hash`: HMAC-SHA1 of the address under the salt. */
function isHashOf(text: string, address: string): boolean {
  const [, , salt = "", hash = ""] = text.split("|");
  const expected = new Uint8Array(Buffer.from(hash, "base64"));
  const found = new Uint8Array(createHmac("sha1", Buffer.from(salt, "base64")).update(address).digest());
  return found.length === expected.length && timingSafeEqual(found, expected);
}

function patternExpression(pattern: string): RegExp {
  const source = pattern.replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`).replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`);
}
