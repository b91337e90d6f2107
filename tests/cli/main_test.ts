/** The program as a person starts it: output, sentences and exit codes. */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DatabaseSync } from "node:sqlite";
import { helpText } from "../../src/cli/help.ts";
import { versionText } from "../../src/cli/version.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const COMMAND = ["run", "--quiet", "--allow-all", "--no-check", MAIN];

async function runMarmot(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const marmot = new Deno.Command(Deno.execPath(), { args: [...COMMAND, ...args], stdin: "null" });
  const { code, stdout, stderr } = await marmot.output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

Deno.test("-help prints the help on stdout and ends with 0", async () => {
  for (const flag of ["-help", "-h", "--help"]) {
    assert.deepEqual(await runMarmot(flag), { code: 0, stdout: helpText(), stderr: "" });
  }
});

Deno.test("-version names the version, the commit and the parts", async () => {
  const { code, stdout, stderr } = await runMarmot("--version");
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: versionText(), stderr: "" });
  assert.match(
    stdout,
    /^marmot \d+\.\d+\.\d+\S*\ncommit .+\ndeno {3}\d[\d.]+\nsqlite 3[\d.]+\ntarget \S+-\S+\n$/,
  );
});

Deno.test("wrong usage is one sentence and a hint on stderr and ends with 2", async () => {
  const cases: [string[], string][] = [
    [["-shards", "0"], 'marmot: Cannot use -shards "0": it must be a whole number from 1 to 1024\n'],
    [["-shard", "8"], "marmot: Cannot use -shard: there is no such flag, did you mean -shards?\n"],
    [["-nats-url", "http://x"], "marmot: Cannot use -nats-url: the URL begins with http://, but "],
    [
      ["-save-snapshot", "-enable-snapshot=false"],
      "marmot: Cannot save a snapshot: -enable-snapshot=false switches snapshots off\n",
    ],
    [["start"], 'marmot: Cannot use "start": it is neither a flag nor the value of one\n'],
    [["conflict"], 'marmot: Cannot use "conflict": it is neither a flag nor the value of one\n'],
    [["conflicts", "-node-id", "1"], "marmot: Cannot use -node-id: there is no such flag\n"],
    [
      ["conflicts", "shwo", "1"],
      'marmot: Cannot use "shwo": marmot conflicts takes no such word, did you mean show?\n',
    ],
  ];
  for (const [args, sentence] of cases) {
    const { code, stdout, stderr } = await runMarmot(...args);
    assert.deepEqual({ code, stdout }, { code: 2, stdout: "" }, args.join(" "));
    assert.ok(stderr.startsWith(sentence), stderr);
    assert.equal(stderr.split("\n").length, 3, stderr);
  }
});

Deno.test("a database that is missing is one sentence and ends with 1", async () => {
  const folder = await mkdtemp(join(tmpdir(), "marmot-cli-"));
  try {
    const path = join(folder, "missing.db");
    for (const args of [["-cleanup"], []]) {
      const { code, stdout, stderr } = await runMarmot("-db-path", path, "-enable-snapshot=false", ...args);
      assert.deepEqual({ code, stdout }, { code: 1, stdout: "" }, stderr);
      assert.match(stderr, /^marmot: Cannot .*missing\.db/m);
      assert.doesNotMatch(stderr, /defect|\n +at /);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

Deno.test({
  name: "a node that a signal stops ends with 0, even where it never reached a server",
  ignore: Deno.build.os === "windows",
  async fn() {
    const folder = await mkdtemp(join(tmpdir(), "marmot-cli-"));
    try {
      const path = join(folder, "a.db");
      const database = new DatabaseSync(path);
      database.exec("CREATE TABLE t(id INTEGER PRIMARY KEY)");
      database.close();
      for (const signal of ["SIGTERM", "SIGINT"] as const) {
        const marmot = new Deno.Command(Deno.execPath(), {
          args: [...COMMAND, "-db-path", path, "-nats-url", "nats://127.0.0.1:1", "-enable-snapshot"],
          stdin: "null",
          stderr: "piped",
        }).spawn();
        let log = "";
        for await (const text of marmot.stderr.pipeThrough(new TextDecoderStream())) {
          const hasStarted = log !== "";
          log += text;
          if (!hasStarted) marmot.kill(signal);
        }
        assert.equal((await marmot.status).code, 0, log);
        assert.ok(log.includes(`INFO  stopping reason="stopped by ${signal}"`), log);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  },
});
