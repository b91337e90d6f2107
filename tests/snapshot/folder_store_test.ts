import { mkdtemp, readdir, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { FolderStore } from "../../src/snapshot/stores/folder_store.ts";
import { testStoreContract } from "./store_contract.ts";

testStoreContract("a folder", async () => {
  const folder = await mkdtemp(join(tmpdir(), "marmot-folder-store-"));
  return {
    largeBytes: 3_000_001,
    port: undefined,
    open: ({ place }) => Promise.resolve(new CheckedStore(new FolderStore(join(folder, place, "deep")))),
    writerArguments: (place, bytes) => [pathToFileURL(join(folder, place, "deep")).href, String(bytes)],
    residue: (place) => readdir(join(folder, place, "deep")),
    truncate: (place, name) => truncate(join(folder, place, "deep", name), 1_000_000),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
});
