/** Replaces files so that a reader, or a crash at any moment, meets the old content or the new, never a mix. */

import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import process from "node:process";

/**
 * Makes `content` the content of the file at `path`, on disk when the promise resolves. The new file is
 * written beside it under a name that ends in `.tmp`, which a crash may leave behind and the next write of
 * this process id takes over. Writes to one path must not overlap. Rejects with the system's error.
 */
export async function replaceFile(path: string, content: Uint8Array): Promise<void> {
  const temporaryPath = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(temporaryPath, "w");
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporaryPath, path);
  } catch (error) {
    await rm(temporaryPath, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Makes a rename last: it is on disk only once its folder is. Windows can't open folders and needs no such step. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
