import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { replaceFile } from "../../src/runtime/atomic_file.ts";

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "marmot-atomic-file-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

Deno.test("a file is made and replaced, and nothing else is left in its folder", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "seq-map.cbor");
    for (const content of [new Uint8Array([1, 2, 3]), new Uint8Array(100_000).fill(7), new Uint8Array()]) {
      await replaceFile(path, content);
      assert.deepEqual(new Uint8Array(await readFile(path)), content);
      assert.deepEqual(await readdir(folder), ["seq-map.cbor"]);
    }
  });
});

Deno.test("a reader meets the old content or the new, whole", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "file");
    const contents = [new Uint8Array(300_000).fill(1), new Uint8Array(300_000).fill(2)];
    await replaceFile(path, contents[0] ?? new Uint8Array());
    let isWriting = true;
    const write = async () => {
      for (let round = 0; round < 20; round++) {
        await replaceFile(path, contents[round % 2] ?? new Uint8Array());
      }
      isWriting = false;
    };
    const read = async () => {
      while (isWriting) {
        const found = await readFile(path);
        assert.equal(found.length, 300_000);
        assert.equal(found[0], found.at(-1));
      }
    };
    await Promise.all([write(), read()]);
  });
});

Deno.test("a write that fails leaves the old file and no other", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "taken");
    await mkdir(path);
    await writeFile(join(path, "kept"), "kept");
    await assert.rejects(replaceFile(path, new Uint8Array([1])));
    assert.deepEqual(await readdir(folder), ["taken"]);
    await assert.rejects(replaceFile(join(folder, "no", "such"), new Uint8Array([1])), { code: "ENOENT" });
  });
});
