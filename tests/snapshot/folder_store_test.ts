import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { MarmotError } from "../../src/errors.ts";
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

Deno.test("a folder that is a file, and a disk that is full, are told with what to do", async () => {
  const folder = await mkdtemp(join(tmpdir(), "marmot-folder-store-"));
  try {
    const file = join(folder, "file");
    await writeFile(file, "");
    const store = new CheckedStore(new FolderStore(file));
    const empty = ReadableStream.from<Uint8Array>([]);
    await assert.rejects(store.put("object", empty), (error) => {
      assert.ok(error instanceof MarmotError && error.code === "snapshot");
      assert.match(error.message, /^Cannot write snapshot object "object" to file:.*: it is not a folder$/);
      assert.match(error.hint ?? "", /name a folder/);
      return true;
    });
    await assert.rejects(store.list(), /it is not a folder$/);
    const full = Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
    assert.match(new FolderStore(folder).explain(full)?.reason ?? "", /no space is left/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

Deno.test("an object is readable by its owner only", { ignore: Deno.build.os === "windows" }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "marmot-folder-store-"));
  try {
    await new CheckedStore(new FolderStore(folder)).put("object", ReadableStream.from<Uint8Array>([]));
    assert.equal((await stat(join(folder, "object"))).mode & 0o777, 0o600);
  } finally {
    await rm(folder, { recursive: true });
  }
});
