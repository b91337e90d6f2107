/**
 * A file system of a few megabytes, to be filled: a tmpfs of its own, which only root may mount. It goes, with what is
 * on it, at the end of the `await using` block that made it.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class SmallDisk implements AsyncDisposable {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Whether this process may mount: root may, unless it is root of a container without that right. Says so where `test` goes without. */
  static async isPossible(test: string): Promise<boolean> {
    try {
      await SmallDisk.mount(65_536)[Symbol.asyncDispose]();
      return true;
    } catch {
      console.log(`${test}: no small disk can be mounted here, which takes root`);
      return false;
    }
  }

  /** Throws where nothing may be mounted. */
  static mount(sizeBytes: number): SmallDisk {
    const folder = mkdtempSync(join(tmpdir(), "marmot-small-disk-"));
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "tmpfs", folder], { stdio: "pipe" });
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
    return new SmallDisk(folder);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  /** Takes what is free, but for so much; also where somebody else writes in this moment. */
  fill(leaveBytes = 0): void {
    const size = this.freeBytes - leaveBytes;
    if (size <= 0) return;
    try {
      writeFileSync(this.#ballast, new Uint8Array(size));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
  }

  /** Gives back what `fill` took. */
  async makeRoom(): Promise<void> {
    await rm(this.#ballast, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    execFileSync("umount", ["-l", this.folder], { stdio: "pipe" });
    await rm(this.folder, { recursive: true, force: true });
  }

  get #ballast(): string {
    return join(this.folder, "ballast");
  }
}
