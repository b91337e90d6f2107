import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { S3Store } from "../../src/snapshot/stores/s3_store.ts";
import { RcloneServer } from "./rclone_server.ts";
import { testStoreContract } from "./store_contract.ts";

testStoreContract("an S3 server", async () => {
  const server = await RcloneServer.start("s3", ["--auth-key", "marmot,s3cret"]);
  await mkdir(join(server.data, "bucket"));
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
    residue: (place) => readdir(join(server.data, "bucket", "folder", place)).catch(() => []),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
});
