import assert from "node:assert/strict";
import { AwsClient } from "aws4fetch";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { S3Store } from "../../src/snapshot/stores/s3_store.ts";
import { RcloneServer } from "./rclone_server.ts";
import { testStoreContract } from "./store_contract.ts";

testStoreContract("an S3 server", async () => {
  const server = await RcloneServer.start("s3", ["--auth-key", "marmot,s3cret"]);
  await mkdir(join(server.data, "bucket"));
  const client = new AwsClient({ accessKeyId: "marmot", secretAccessKey: "s3cret", service: "s3" });
  /** Uploads in parts that were neither completed nor called off: they cost, and no list of objects has them. */
  const unfinished = async (place: string) => {
    const url = `http://127.0.0.1:${server.port}/bucket?uploads=&prefix=folder/${place}/`;
    const answer = await (await client.fetch(url)).text();
    assert.match(answer, /<ListMultipartUploadsResult>/);
    return [...answer.matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key]) => `unfinished ${key}`);
  };
  return {
    largeBytes: 20_000_001,
    port: server.port,
    refusal: /^Cannot .*: the server answers 403 .*: it refuses the credentials$/,
    open: ({ place, port = server.port, hasWrongCredentials, stallMs }) =>
      Promise.resolve(
        new CheckedStore(
          new S3Store({
            bucket: "bucket",
            prefix: `folder/${place}/`,
            endpoint: `http://127.0.0.1:${port}`,
            region: "us-east-1",
            isPathStyle: true,
            accessKeyId: "marmot",
            secretAccessKey: hasWrongCredentials ? "other-s3cret" : "s3cret",
            sessionToken: undefined,
          }),
          { stallMs },
        ),
      ),
    writerArguments: (place, bytes) => [
      `s3://marmot:s3cret@bucket/folder/${place}?endpoint=http://127.0.0.1:${server.port}`,
      String(bytes),
    ],
    residue: async (place) => [
      ...await readdir(join(server.data, "bucket", "folder", place)).catch(() => []),
      ...await unfinished(place),
    ],
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
});
