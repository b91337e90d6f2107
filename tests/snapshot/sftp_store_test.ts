import { createReadStream } from "node:fs";
import { readdir, truncate } from "node:fs/promises";
import { join } from "node:path";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { SftpStore } from "../../src/snapshot/stores/sftp_store.ts";
import { RcloneServer } from "./rclone_server.ts";
import { testStoreContract } from "./store_contract.ts";

testStoreContract("an SFTP server", async () => {
  // Without a cache rclone wants the pieces of a file one after the other.
  const cache = ["--vfs-cache-mode", "writes", "--vfs-write-back", "0"];
  const server = await RcloneServer.start("sftp", ["--user", "marmot", "--pass", "s3cret", ...cache]);
  const fingerprint = await server.hostKeyFingerprint();
  return {
    largeBytes: 3_000_001,
    port: server.port,
    refusal: /^Cannot .*: the server refuses the credentials$/,
    open: ({ place, port = server.port, hasWrongCredentials, stallMs }) =>
      Promise.resolve(
        new CheckedStore(
          new SftpStore({
            host: "127.0.0.1",
            port,
            user: "marmot",
            password: hasWrongCredentials ? "other-s3cret" : "s3cret",
            keyPaths: [],
            keyPassphrase: undefined,
            agent: undefined,
            trust: { fingerprint },
            folder: `/folder/${place}`,
          }),
          { stallMs },
        ),
      ),
    writerArguments: (place, bytes) => [
      `sftp://marmot:s3cret@127.0.0.1:${server.port}/folder/${place}?fingerprint=${
        encodeURIComponent(fingerprint)
      }`,
      String(bytes),
    ],
    residue: (place) => readdir(join(server.data, "folder", place)),
    // Where files are renamed to one name at the same time, rclone's cache gives the content of one with the size of another.
    stored: (place, name) => createReadStream(join(server.data, "folder", place, name)),
    truncate: (place, name) => truncate(join(server.data, "folder", place, name), 1_000_000),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
});
