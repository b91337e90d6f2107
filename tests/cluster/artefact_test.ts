/** What is released, not its source: the executable for this platform is made, and two of it replicate. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import project from "../../deno.json" with { type: "json" };
import { MarmotProcess } from "../../scripts/marmot_process.ts";
import { waitUntil } from "../support/cluster.ts";
import { NatsServer } from "../support/nats_server.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const EXTENSION = Deno.build.os === "windows" ? ".exe" : "";
const NAME = `marmot-${project.version}-${Deno.build.target}${EXTENSION}`;

Deno.test("the executable that is released replicates a row both ways and stops with 0", async (t) => {
  const executable = join(ROOT, "dist", NAME);

  await t.step("compiling for this platform writes it to dist/", async () => {
    await rm(executable, { force: true });
    const { code, stderr } = await run(Deno.execPath(), ["run", "-A", "scripts/compile.ts", "host"]);
    assert.equal(code, 0, stderr);
    assert(existsSync(executable));
  });

  await t.step("its SHA-256 sum stands in the list", async () => {
    const sums = await readFile(join(ROOT, "dist", `marmot-${project.version}-SHA256SUMS`), "utf8");
    const sum = createHash("sha256").update(await readFile(executable)).digest("hex");
    assert(sums.split("\n").includes(`${sum}  ${NAME}`), sums);
  });

  await t.step("it does not carry the packages of the demo and the tests", async () => {
    const content = await readFile(executable);
    for (const name of ["vega-datasets", "fast-check"]) assert(!content.includes(`/${name}/`), name);
  });

  await t.step("-version names version, commit, Deno, SQLite and target", async () => {
    const { code, stdout, stderr } = await run(executable, ["-version"]);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    const [version, commit, deno, sqlite, target, ...rest] = stdout.split("\n");
    assert.equal(version, `marmot ${project.version}`);
    assert.match(commit ?? "", /^commit [0-9a-f]{12}(-dirty)?$/);
    assert.match(deno ?? "", /^deno {3}2\.\d+\.\d+$/);
    assert.match(sqlite ?? "", /^sqlite 3\.\d+\.\d+$/);
    assert.equal(target, `target ${Deno.build.target}`);
    assert.deepEqual(rest, [""]);
  });

  await t.step(
    "two of them replicate, verify finds them equal, a third begins with a snapshot, and SIGTERM ends all with 0",
    () => replicateBothWays(executable),
  );
});

async function replicateBothWays(executable: string): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await NatsServer.start());
  const folder = await mkdtemp(join(tmpdir(), "marmot-artefact-"));
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const nodes = [1, 2].map((nodeId) => {
    const dbPath = join(folder, `${nodeId}.db`);
    const database = new DatabaseSync(dbPath, { timeout: 10_000 });
    cleanup.defer(() => database.close());
    database.exec("CREATE TABLE greeting (id INTEGER PRIMARY KEY, text TEXT)");
    const marmot = cleanup.use(
      new MarmotProcess({ nodeId, dbPath, natsUrl: server.url, folder, command: [executable] }),
    );
    return { nodeId, database, marmot };
  });
  await Promise.all(nodes.map(({ marmot }) => marmot.waitUntilReplicating()));
  for (const { nodeId, database } of nodes) {
    database.prepare("INSERT INTO greeting VALUES (?, ?)").run(nodeId, `from node ${nodeId}`);
  }
  const read = (database: DatabaseSync) =>
    database.prepare("SELECT text FROM greeting ORDER BY id").all().map((row) => row["text"]);
  for (const { nodeId, database, marmot } of nodes) {
    await waitUntil(() => read(database).length === 2, {
      timeoutMs: 10_000,
      what: () => `node ${nodeId} has only ${JSON.stringify(read(database))}:\n${marmot.log}`,
    });
    assert.deepEqual(read(database), ["from node 1", "from node 2"]);
  }
  const verified = await run(executable, ["verify", "-nats-url", server.url]);
  assert.equal(verified.code, 0, verified.stdout + verified.stderr);
  assert.match(verified.stdout, /\ntable greeting: equal, 2 rows\nequal: 1 tables\n$/);
  await waitUntil(() => nodes.some(({ marmot }) => / INFO {2}snapshot saved /.test(marmot.log)), {
    timeoutMs: 20_000,
    what: () => nodes[0]!.marmot.log,
  });
  const dbPath = join(folder, "3.db");
  await using third = new MarmotProcess({
    nodeId: 3,
    dbPath,
    natsUrl: server.url,
    folder,
    command: [executable],
  });
  await waitUntil(() => third.hasEnded || / INFO {2}ready /.test(third.log), {
    timeoutMs: 20_000,
    what: () => third.log,
  });
  assert.ok(!third.hasEnded, third.log);
  using newcomer = new DatabaseSync(dbPath);
  assert.deepEqual(read(newcomer), ["from node 1", "from node 2"]);
  assert.deepEqual(await Promise.all([...nodes.map(({ marmot }) => marmot.stop()), third.stop()]), [0, 0, 0]);
}

async function run(
  program: string,
  args: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = new Deno.Command(program, { args: [...args], cwd: ROOT, stdin: "null" });
  const { code, stdout, stderr } = await command.output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}
