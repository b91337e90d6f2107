/** What is said of files that cannot be written where they should go. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MarmotError } from "../../src/errors.ts";
import { assertFolder, diskError } from "../../src/node/snapshot/disk_errors.ts";

Deno.test("a file goes into a folder that is there; a missing one, or a file in its place, is one sentence", () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-folder-"));
  try {
    assertFolder(join(folder, "x.db"), "Cannot make it", "-to");
    assertFolder("x.db", "Cannot make it", "-to");
    writeFileSync(join(folder, "file"), "");
    for (
      const wrong of ["missing", "missing/deeper", "file", "file/deeper"].map((name) => join(folder, name))
    ) {
      assert.throws(
        () => assertFolder(join(wrong, "x.db"), "Cannot make it", "-to"),
        new MarmotError("database", `Cannot make it: there is no folder "${wrong}"`, {
          hint: "Make the folder, or check -to.",
        }),
      );
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Deno.test("a disk's own complaint is one sentence, anything else is not the disk's", () => {
  assert.match(diskError("ENOSPC")?.message ?? "", /^Cannot write beside the database: its disk is full$/);
  for (const code of ["ENOENT", "ECONNRESET", undefined]) assert.equal(diskError(code), undefined);
});
