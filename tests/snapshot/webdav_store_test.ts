import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { WebdavStore } from "../../src/snapshot/stores/webdav_store.ts";
import { RcloneServer } from "./rclone_server.ts";
import { testStoreContract } from "./store_contract.ts";

testStoreContract("a WebDAV server", async () => {
  // Without a cache rclone lists a folder wrongly while a file is being written to it.
  const cache = ["--vfs-cache-mode", "writes", "--vfs-write-back", "0"];
  const server = await RcloneServer.start("webdav", ["--user", "marmot", "--pass", "s3cret", ...cache]);
  return {
    largeBytes: 3_000_001,
    port: server.port,
    keepsBrokenOff: true,
    refusal: /^Cannot .*401.*: it refuses the credentials$/,
    open: ({ place, port = server.port, hasWrongCredentials, stallMs }) =>
      Promise.resolve(
        new CheckedStore(
          new WebdavStore({
            url: `http://127.0.0.1:${port}/folder/${place}`,
            user: "marmot",
            password: hasWrongCredentials ? "other-s3cret" : "s3cret",
          }),
          { stallMs },
        ),
      ),
    writerArguments: (place, bytes) => [
      `webdav://marmot:s3cret@127.0.0.1:${server.port}/folder/${place}`,
      String(bytes),
    ],
    residue: (place) => readdir(join(server.data, "folder", place)),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
});
