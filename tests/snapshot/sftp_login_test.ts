/** Whom an SFTP store trusts, and how it logs in, against a real server. */

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
// @ts-types="npm:@types/ssh2@1.15.5"
import ssh2 from "ssh2";
import { MarmotError } from "../../src/errors.ts";
import { openSnapshotStore } from "../../src/snapshot/open_snapshot_store.ts";
import { parseSnapshotUrl } from "../../src/snapshot/snapshot_url.ts";
import { RcloneServer } from "./rclone_server.ts";

const CACHE = ["--vfs-cache-mode", "writes", "--vfs-write-back", "0"];

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "marmot-sftp-login-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Puts an object and reads it back. */
async function use(url: string, environment: Readonly<Record<string, string>> = {}): Promise<void> {
  const nats = () => Promise.reject(new Error("not asked for"));
  const store = await openSnapshotStore(parseSnapshotUrl(url), { environment, nats });
  try {
    await store.put("object", ReadableStream.from([new Uint8Array([1, 2, 3])]));
    assert.deepEqual((await store.list()).map(({ sizeBytes }) => sizeBytes), [3]);
  } finally {
    await store.close();
  }
}

async function refused(
  using: Promise<void>,
  { reason, hint }: { reason: RegExp; hint: RegExp },
): Promise<void> {
  await assert.rejects(using, (error) => {
    assert.ok(error instanceof MarmotError && error.code === "snapshot", String(error));
    assert.match(error.message, reason);
    assert.match(error.hint ?? "", hint);
    assert.doesNotMatch(error.message + error.hint, /s3cret/);
    return true;
  });
}

Deno.test("nothing is sent to an SFTP server whose key is not known, or has changed", async () => {
  await using server = await RcloneServer.start("sftp", ["--user", "me", "--pass", "s3cret", ...CACHE]);
  await inFolder(async (folder) => {
    const hosts = join(folder, "known_hosts");
    const url = `sftp://me:s3cret@127.0.0.1:${server.port}/folder?known-hosts=${hosts}`;
    const address = `[127.0.0.1]:${server.port}`;

    await refused(use(url), {
      reason: /fingerprint SHA256:.* does not know this host$/,
      hint: /ssh-keyscan/,
    });
    const other = ssh2.utils.generateKeyPairSync("ed25519").public;
    await writeFile(hosts, `${address} ${other}\n`);
    await refused(use(url), { reason: /has another one for this host$/, hint: /somebody may be in between/ });
    const known = await server.hostKey();
    await writeFile(hosts, `${address} ${known}\n@revoked * ${known}\n`);
    await refused(use(url), { reason: /is revoked in/, hint: /new key/ });
    await writeFile(hosts, `${address} ${known}\n`);
    await use(url);

    const fingerprint = encodeURIComponent(await server.hostKeyFingerprint());
    const pinned = `sftp://me@127.0.0.1:${server.port}/folder?fingerprint=`;
    const environment = { MARMOT_SNAPSHOT_PASSWORD: "s3cret" };
    await use(pinned + fingerprint, environment);
    const wrong = pinned + encodeURIComponent(`SHA256:${"a".repeat(43)}`);
    await refused(use(wrong, environment), {
      reason: /fingerprint SHA256:.*, not SHA256:/,
      hint: /in between/,
    });
  });
});

Deno.test("an SFTP store logs in with a private key, also one with a passphrase", async () => {
  await inFolder(async (folder) => {
    const plain = ssh2.utils.generateKeyPairSync("ed25519");
    const locked = ssh2.utils.generateKeyPairSync("rsa", {
      bits: 2048,
      passphrase: "s3cret",
      cipher: "aes256-cbc",
      rounds: 4,
    });
    const stranger = ssh2.utils.generateKeyPairSync("ed25519");
    await writeFile(join(folder, "authorized"), `${plain.public}\n${locked.public}\n`);
    for (const [name, pair] of Object.entries({ plain, locked, stranger })) {
      await writeFile(join(folder, name), pair.private, { mode: 0o600 });
    }
    const authorized = ["--authorized-keys", join(folder, "authorized")];
    await using server = await RcloneServer.start("sftp", [...authorized, ...CACHE]);
    const fingerprint = encodeURIComponent(await server.hostKeyFingerprint());
    const url = (key: string) =>
      `sftp://me@127.0.0.1:${server.port}/folder?fingerprint=${fingerprint}&key=${join(folder, key)}`;

    await use(url("plain"));
    await use(url("locked"), { MARMOT_SNAPSHOT_PASSPHRASE: "s3cret" });
    await refused(use(url("locked")), {
      reason: /the key .* can't be read/,
      hint: /MARMOT_SNAPSHOT_PASSPHRASE/,
    });
    await refused(use(url("stranger")), { reason: /refuses the credentials$/, hint: /check the user/ });
    await refused(use(url("missing")), { reason: /there is no way to log in$/, hint: /give a password/ });
  });
});
