/**
 * Proves that a compiled file is Marmot. The compiler's exit code does not: with a wrong runtime it makes a
 * file that opens a REPL.
 */

import { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
import type { Target } from "./targets.ts";

export interface Expectation {
  readonly target: Target;
  readonly version: string;
  readonly commit: string;
}

const TIME_LIMIT_MS = 60_000;

/** Runs it where it is of this platform, looks into it where not. Rejects with what is wrong. */
export async function verifyExecutable(path: string, expectation: Expectation): Promise<"run" | "inspected"> {
  inspect(await readFile(path), expectation);
  if (expectation.target.name !== Deno.build.target) return "inspected";
  const output = await readVersionOutput(path);
  const { target, version, commit } = expectation;
  for (const line of [`marmot ${version}`, `commit ${commit}`, `target ${target.name}`]) {
    if (!output.split("\n").includes(line)) {
      throw new Error(`its -version does not say "${line}" but: ${output.trim() || "nothing"}`);
    }
  }
  return "run";
}

function inspect(content: Buffer, { target, commit }: Expectation): void {
  const { offset, bytes } = target.machine;
  if (
    !content.subarray(0, target.magic.length).equals(Buffer.from(target.magic)) ||
    !content.subarray(offset, offset + bytes.length).equals(Buffer.from(bytes))
  ) {
    throw new Error(`it is no executable for ${target.name}`);
  }
  if (!content.includes(commit)) throw new Error("Marmot's files are not in it");
}

/** What `-version` prints, on a machine where nothing but the executable is there. */
async function readVersionOutput(path: string): Promise<string> {
  const started = new Deno.Command(path, {
    args: ["-version"],
    cwd: await Deno.makeTempDir(),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(TIME_LIMIT_MS),
  });
  const { code, stdout, stderr } = await started.output();
  if (code !== 0) throw new Error(`-version ended with ${code}: ${new TextDecoder().decode(stderr).trim()}`);
  return new TextDecoder().decode(stdout);
}
