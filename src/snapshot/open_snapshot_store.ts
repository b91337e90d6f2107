/** Opens the store that a URL names. The code of a kind of store is loaded when it is the one. */

import { homedir } from "node:os";
import { join } from "node:path";
import { MarmotError } from "../errors.ts";
import type { BucketConnection } from "../stream/object_bucket.ts";
import type { SnapshotStore } from "./snapshot_store.ts";
import type { S3Url, SftpUrl, SnapshotPlace, WebdavUrl } from "./snapshot_url.ts";
import type { Backend } from "./stores/backend.ts";
import { CheckedStore, type CheckedStoreOptions } from "./stores/checked_store.ts";

export interface OpenStoreOptions extends CheckedStoreOptions {
  readonly environment: Environment;
  /** What the store in NATS needs; asked for by that one only. It stays the caller's to close. */
  readonly nats: () => Promise<NatsAccess>;
}

export interface NatsAccess {
  readonly connection: BucketConnection;
  readonly streamPrefix: string;
  /** With how many servers a new bucket is kept. */
  readonly replicas: number;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Nothing is connected yet, and nothing was looked at. Throws MarmotError "usage" where credentials are missing. */
export async function openSnapshotStore(
  place: SnapshotPlace,
  options: OpenStoreOptions,
): Promise<SnapshotStore> {
  return new CheckedStore(await loadBackend(place, options), options);
}

async function loadBackend(
  place: SnapshotPlace,
  { environment, nats }: OpenStoreOptions,
): Promise<Backend> {
  switch (place.kind) {
    case "nats": {
      const { NatsStore } = await import("./stores/nats_store.ts");
      return new NatsStore(await nats());
    }
    case "file": {
      const { FolderStore } = await import("./stores/folder_store.ts");
      return new FolderStore(place.folder);
    }
    case "s3":
      return await openS3(place, environment);
    case "sftp":
      return await openSftp(place, environment);
    case "webdav":
      return await openWebdav(place, environment);
  }
}

async function openS3(place: S3Url, environment: Environment): Promise<Backend> {
  const { bucket, prefix, isPathStyle } = place;
  const accessKeyId = place.user ?? given(environment, "AWS_ACCESS_KEY_ID");
  const secretAccessKey = place.password ?? given(environment, "AWS_SECRET_ACCESS_KEY");
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new MarmotError("usage", `Cannot use the snapshot store s3://${bucket}: there are no credentials`, {
      hint: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write s3://key:secret@bucket.",
    });
  }
  const { S3Store } = await import("./stores/s3_store.ts");
  return new S3Store({
    bucket,
    prefix,
    isPathStyle,
    accessKeyId,
    secretAccessKey,
    endpoint: place.endpoint,
    region: place.region ?? given(environment, "AWS_REGION") ?? given(environment, "AWS_DEFAULT_REGION") ??
      "us-east-1",
    // A session belongs to the key that stands beside it.
    sessionToken: place.user === undefined ? given(environment, "AWS_SESSION_TOKEN") : undefined,
  });
}

async function openSftp(place: SftpUrl, environment: Environment): Promise<Backend> {
  const { host, port, user, folder, fingerprint, keyPath } = place;
  const ssh = join(homedir(), ".ssh");
  const { SftpStore } = await import("./stores/sftp_store.ts");
  return new SftpStore({
    host,
    port,
    user,
    folder,
    password: place.password ?? given(environment, "MARMOT_SNAPSHOT_PASSWORD"),
    keyPaths: keyPath === undefined
      ? ["id_ed25519", "id_ecdsa", "id_rsa"].map((name) => join(ssh, name))
      : [keyPath],
    keyPassphrase: given(environment, "MARMOT_SNAPSHOT_PASSPHRASE"),
    agent: keyPath === undefined ? given(environment, "SSH_AUTH_SOCK") : undefined,
    trust: fingerprint === undefined
      ? { knownHostsPath: place.knownHostsPath ?? join(ssh, "known_hosts") }
      : { fingerprint },
  });
}

async function openWebdav(place: WebdavUrl, environment: Environment): Promise<Backend> {
  const { url, user } = place;
  const { WebdavStore } = await import("./stores/webdav_store.ts");
  return new WebdavStore({
    url,
    user,
    password: place.password ?? given(environment, "MARMOT_SNAPSHOT_PASSWORD"),
  });
}

/** The variable's value; undefined where it is not set, or empty. */
function given(environment: Environment, name: string): string | undefined {
  return environment[name] || undefined;
}
