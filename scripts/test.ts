/**
 * All tests, the way people and CI run them: the checks, a nats-server, rclone, `deno test`, and as the last line
 * `N passed, N failed`. Ends with 0 only when tests ran and none failed.
 *
 *     deno task test [file, folder or option of deno test …] [words in the tests' names …]
 */

import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { MarmotError } from "../src/errors.ts";
import { ensureNatsServer } from "./nats_server.ts";
import { ensureRclone } from "./rclone.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

interface Count {
  readonly passed: number;
  readonly failed: number;
}

async function main(args: readonly string[]): Promise<Count> {
  if (!await runCheck()) return { passed: 0, failed: 1 };
  try {
    process.env["NATS_SERVER"] = await ensureNatsServer((progress) => console.log(progress));
  } catch (error) {
    if (!(error instanceof MarmotError)) throw error;
    console.error([error.message, error.hint ?? ""].join("\n"));
    return { passed: 0, failed: 1 };
  }
  try {
    process.env["RCLONE"] = await ensureRclone((progress) => console.log(progress));
  } catch (error) {
    if (!(error instanceof MarmotError)) throw error;
    // Only the tests of the stores that it plays the server for fail without it.
    console.error([error.message, error.hint ?? ""].join("\n"));
  }
  return await runTests(args);
}

/** `deno task check`; a failure there counts as one failed test, and no other is run. */
async function runCheck(): Promise<boolean> {
  const check = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "check"],
    cwd: ROOT,
    stdin: "null",
  });
  if ((await check.spawn().status).success) return true;
  console.error("The check (format, lint, types) failed: no test was run.");
  return false;
}

async function runTests(args: readonly string[]): Promise<Count> {
  const isForDeno = (argument: string) => argument.startsWith("-") || existsSync(argument);
  const words = args.filter((argument) => !isForDeno(argument));
  const filter = words.length === 0 ? [] : [`--filter=${words.join(" ")}`];
  const tests = new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--no-check", "--parallel", ...filter, ...args.filter(isForDeno)],
    cwd: ROOT,
    // Half of the time of tests with real processes is waiting.
    env: { DENO_JOBS: process.env["DENO_JOBS"] ?? "2" },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const tail = await copyToStdout(tests.stdout);
  const { success } = await tests.status;
  return judge(readSummary(tail), success);
}

const TAIL_CHARACTERS = 4096;

/** Passes the output on while it comes and returns its end, where the summary stands. */
async function copyToStdout(output: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let tail = "";
  for await (const chunk of output) {
    process.stdout.write(chunk);
    tail = (tail + decoder.decode(chunk, { stream: true })).slice(-TAIL_CHARACTERS);
  }
  return tail;
}

/** The figures of `ok | 12 passed (3 steps) | 0 failed (…)`, the last line of its kind; null without one. */
function readSummary(output: string): Count | null {
  // deno-lint-ignore no-control-regex
  const plain = output.replaceAll(/\u001b\[[0-9;]*m/g, "");
  const summaries = plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed\b.*? \| (\d+) failed\b.*$/gm);
  const last = [...summaries].at(-1);
  return last === undefined ? null : { passed: Number(last[1]), failed: Number(last[2]) };
}

/** A runner that crashed, or failed for a reason that is no test's, counts as one failed test. */
function judge(summary: Count | null, success: boolean): Count {
  if (summary === null) {
    console.error("The test runner ended without its summary.");
    return { passed: 0, failed: 1 };
  }
  if (success !== (summary.failed === 0)) {
    console.error(`The test runner ${success ? "reports success" : "failed"} against its own summary.`);
    return { passed: summary.passed, failed: Math.max(1, summary.failed) };
  }
  if (summary.passed + summary.failed === 0) console.error("No test was run.");
  return summary;
}

const { passed, failed } = await main(Deno.args);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
