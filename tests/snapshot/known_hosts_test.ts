import { Buffer } from "node:buffer";
import assert from "node:assert/strict";
import {
  hostKeyFingerprint,
  judgeHostKey,
  keyType,
  knownKeyTypes,
} from "../../src/snapshot/stores/known_hosts.ts";

const KEY = "AAAAC3NzaC1lZDI1NTE5AAAAILe2x4XOpjLvBdQXJ02jGmDtSKHx1zYj7+Rx3wJzE7+v";
const OTHER = "AAAAC3NzaC1lZDI1NTE5AAAAIHw4Ob6kEtgnyt1O1mWVdm6mJoEiWm6GvOnL5hpD6wDM";
/** Written by ssh-keygen -H for [127.0.0.1]:2222 and example.org. */
const HASHED = `
|1|v8RZTQiBYua7qiqLs9tuc+6RXY4=|2kCZyegS7HnWA2vf4VPzp+o3Aow= ssh-ed25519 ${KEY}
|1|ewQYMX8jyz8HVOzrEz1ezhwAoR0=|NOcE2zHxKpnmbhoQcfrimdlMR6s= ssh-ed25519 ${KEY}
`;

const key = new Uint8Array(Buffer.from(KEY, "base64"));

Deno.test("a fingerprint is the one that ssh-keygen prints", () => {
  assert.equal(hostKeyFingerprint(key), "SHA256:JQC/Sk9aMNB+fHDJsXmkktEXEe+POX+VzocwUQMmO5A");
  assert.equal(keyType(key), "ssh-ed25519");
  assert.equal(keyType(new Uint8Array([1])), "");
});

Deno.test("a known_hosts file is read as OpenSSH reads it", () => {
  const line = `ssh-ed25519 ${KEY} a comment`;
  const cases: [string, string, number, string][] = [
    ["", "example.org", 22, "unknown"],
    [`example.org ${line}`, "example.org", 22, "known"],
    [`example.org ${line}`, "EXAMPLE.org", 22, "known"],
    [`example.org ${line}`, "example.org", 2222, "unknown"],
    [`[example.org]:2222 ${line}`, "example.org", 2222, "known"],
    [`[::1]:2222 ${line}`, "::1", 2222, "known"],
    [`other,example.org,192.0.2.1 ${line}`, "192.0.2.1", 22, "known"],
    [`*.example.org ${line}`, "a.example.org", 22, "known"],
    [`*.example.org ${line}`, "exampleXorg", 22, "unknown"],
    [`*.example.org,!a.example.org ${line}`, "a.example.org", 22, "unknown"],
    [`host? ${line}`, "host1", 22, "known"],
    [`# example.org ${line}`, "example.org", 22, "unknown"],
    [`example.org ssh-ed25519 ${OTHER}`, "example.org", 22, "changed"],
    [`example.org ssh-ed25519 ${OTHER}\nexample.org ${line}`, "example.org", 22, "known"],
    [`example.org ssh-rsa AAAA`, "example.org", 22, "unknown"],
    [`example.org ${line}\n@revoked * ${line}`, "example.org", 22, "revoked"],
    [`@cert-authority example.org ${line}`, "example.org", 22, "unknown"],
    [HASHED, "127.0.0.1", 2222, "known"],
    [HASHED, "example.org", 22, "known"],
    [HASHED, "example.com", 22, "unknown"],
    ["|1|broken ssh-ed25519 x\r\n\r\nexample.org " + line, "example.org", 22, "known"],
  ];
  for (const [file, host, port, verdict] of cases) {
    assert.equal(judgeHostKey(file, { host, port, key }), verdict, `${host}:${port} in ${file}`);
  }
});

Deno.test("a server is asked for a key of a type that is known", () => {
  const file = `example.org ssh-rsa AAAA\nexample.org ssh-ed25519 ${KEY}\n@revoked example.org ecdsa AAAA`;
  assert.deepEqual(knownKeyTypes(file, { host: "example.org", port: 22 }), ["ssh-rsa", "ssh-ed25519"]);
  assert.deepEqual(knownKeyTypes(file, { host: "example.com", port: 22 }), []);
});
