import assert from "node:assert/strict";
import { InvalidValueError } from "../../src/config/option.ts";
import { MarmotError } from "../../src/errors.ts";
import { openSnapshotStore } from "../../src/snapshot/open_snapshot_store.ts";
import { parseSnapshotUrl } from "../../src/snapshot/snapshot_url.ts";

const none = { user: undefined, password: undefined };
const FINGERPRINT = "SHA256:abcdefghijklmnopqrstuvwxyz0123456789+/ABCDE";

const READABLE: Readonly<Record<string, unknown>> = {
  "nats://": { kind: "nats" },
  "file:///var/backup/": { kind: "file", folder: "/var/backup" },
  "file://localhost/a%20b/c": { kind: "file", folder: "/a b/c" },
  "s3://bucket": {
    ...{ kind: "s3", bucket: "bucket", prefix: "", endpoint: undefined, region: undefined },
    ...{ isPathStyle: false, ...none },
  },
  "s3://AKIA:se%2Fcret@my.bucket/a/b/?endpoint=https://host:9000/&region=eu-central-1&path-style=false": {
    ...{ kind: "s3", bucket: "my.bucket", prefix: "a/b/", endpoint: "https://host:9000" },
    ...{ region: "eu-central-1", isPathStyle: false, user: "AKIA", password: "se/cret" },
  },
  "sftp://me@host/backup": {
    ...{ kind: "sftp", user: "me", password: undefined, host: "host", port: 22, folder: "/backup" },
    ...{ knownHostsPath: undefined, fingerprint: undefined, keyPath: undefined },
  },
  [`sftp://me:p%40ss@[::1]:2222/~/backup/?fingerprint=${FINGERPRINT}&key=/k&known-hosts=/h`]: {
    ...{ kind: "sftp", user: "me", password: "p@ss", host: "::1", port: 2222, folder: "backup" },
    ...{ knownHostsPath: "/h", fingerprint: FINGERPRINT, keyPath: "/k" },
  },
  "webdav://host:8080/dav/": { kind: "webdav", url: "http://host:8080/dav/", ...none },
  "webdavs://me:pw@host/dav": { kind: "webdav", url: "https://host/dav", user: "me", password: "pw" },
};

Deno.test("every kind of snapshot URL is read", () => {
  for (const [text, expected] of Object.entries(READABLE)) assert.deepEqual(parseSnapshotUrl(text), expected);
});

const MISTAKES: Readonly<Record<string, RegExp>> = {
  "": /does not begin with a scheme/,
  "/var/backup": /does not begin with a scheme/,
  "nats://host:4222": /nats:\/\/ must be all of it/,
  "ftp://host/s3cret": /begins with ftp:\/\//,
  "file://host/backup": /names no host/,
  "file:///": /names no folder/,
  "file:///a?b=s3cret": /none is known there/,
  "s3://": /name of a bucket|not a URL/,
  "s3://UPPER": /name of a bucket/,
  "s3://key:s3/cret@bucket": /not a URL|name of a bucket/,
  "s3://key@bucket": /both the access key and its secret/,
  "s3://bucket?endpoint=host": /its endpoint must be like/,
  "s3://bucket?endpoint=https://u:s3cret@host": /its endpoint must be like/,
  "s3://bucket?secret=s3cret": /known are endpoint, region, path-style, each once/,
  "s3://bucket?path-style=yes": /its path-style must be true or false/,
  "s3://bucket?region=a/b": /its region must be/,
  "sftp://host/backup": /names no user/,
  "sftp://me@host": /names no folder/,
  "sftp://me@host/~/": /names no folder/,
  "sftp://me@host/a?fingerprint=MD5:aa": /its fingerprint must be like/,
  "sftp://me@host:99999/a": /not a URL/,
  "webdav://": /names no host|not a URL/,
  "webdavs://host/dav#s3cret": /after a #/,
  "webdav://host/%zz": /not a URL/,
};

Deno.test("a mistake in a snapshot URL is told without repeating the URL", () => {
  for (const [text, pattern] of Object.entries(MISTAKES)) {
    assert.throws(() => parseSnapshotUrl(text), (error) => {
      assert.ok(error instanceof InvalidValueError, text);
      assert.match(error.message, pattern, text);
      assert.doesNotMatch(error.message + (error.hint ?? ""), /s3cret/);
      return true;
    });
  }
});

const options = { environment: {}, nats: () => Promise.reject(new Error("not asked for")) };

Deno.test("a store shows where it is, and no secret", async () => {
  for (
    const [text, location] of [
      ["file:///var/backup", "file:///var/backup"],
      ["s3://key:s3cret@bucket/a?endpoint=http://host:1", "s3://bucket/a/ at http://host:1"],
      ["sftp://me:s3cret@host:2222/~/backup", "sftp://me@host:2222/~/backup"],
      ["webdavs://me:s3cret@host/dav", "webdavs://host/dav/"],
    ] as const
  ) {
    assert.equal((await openSnapshotStore(parseSnapshotUrl(text), options)).location, location);
  }
});

Deno.test("S3 without credentials is refused with a hint; those of the environment are taken", async () => {
  const place = parseSnapshotUrl("s3://bucket");
  await assert.rejects(openSnapshotStore(place, options), (error) => {
    assert.ok(error instanceof MarmotError && error.code === "usage");
    assert.match(error.hint ?? "", /AWS_ACCESS_KEY_ID/);
    return true;
  });
  const environment = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };
  assert.equal((await openSnapshotStore(place, { ...options, environment })).location, "s3://bucket/");
});
