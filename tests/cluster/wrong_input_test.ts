/**
 * What operators get wrong, on the real program: one clear sentence, the right exit code, nothing damaged. What may
 * come right by itself (a broker that is not there yet) is said and waited for instead.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { Cluster, waitUntil } from "../support/cluster.ts";
import { HandPublisher } from "../support/hand_publisher.ts";
import { NatsServer } from "../support/nats_server.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one')";

interface Ended {
  readonly code: number | null;
  /** The line for the operator, without what is logged. */
  readonly sentence: string;
  readonly stderr: string;
}

class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async make(): Promise<Folder> {
    return new Folder(await mkdtemp(join(tmpdir(), "marmot-wrong-")));
  }

  join(name: string): string {
    return join(this.path, name);
  }

  /** A database with one row, of the application's own journal mode. */
  database(name: string, { journal = "delete" } = {}): string {
    const path = this.join(name);
    using database = new DatabaseSync(path);
    database.exec(`PRAGMA journal_mode = ${journal}; ${SCHEMA}`);
    return path;
  }

  /** Every file in it with its bytes. */
  content(): Map<string, string> {
    const names = readdirSync(this.path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    return new Map(names.sort().map((name) => [name, readFileSync(name).toString("hex")]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await chmod(this.path, 0o755);
    await rm(this.path, { recursive: true, force: true });
  }
}

/** Runs the program until it ends by itself. Nothing listens at its default broker. */
async function runMarmot(
  args: readonly string[],
  options: { mayNotOverride?: boolean } = {},
): Promise<Ended> {
  const command = [Deno.execPath(), "run", "--quiet", "--allow-all", "--no-check", MAIN];
  // Permissions do not bind the root user as long as it has these capabilities.
  const prefix = options.mayNotOverride && process.getuid?.() === 0
    ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    : [];
  const [executable = "", ...rest] = [...prefix, ...command, ...args];
  const child = spawn(executable, rest, { stdio: ["ignore", "ignore", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text);
  const [code] = await once(child, "close");
  clearTimeout(timer);
  const sentences = stderr.split("\n").filter((line) => line.startsWith("marmot: "));
  assert.equal(sentences.length, 1, stderr);
  assert.doesNotMatch(stderr, /defect|\n +at /);
  return { code, sentence: (sentences[0] ?? "").slice("marmot: ".length), stderr };
}

const inFolder = (
  folder: Folder,
) => ["-seq-map-path", folder.join("seq-map.cbor"), "-nats-url", "nats://127.0.0.1:1"];

Deno.test("a path that holds no database is said, and nothing is written", async (t) => {
  await using folder = await Folder.make();
  await writeFile(folder.join("text.db"), "Dear diary,\n".repeat(1000));
  await writeFile(folder.join("short.db"), "Dear diary");
  const whole = readFileSync(folder.database("whole.db"));
  await writeFile(
    folder.join("damaged.db"),
    Buffer.concat([whole.subarray(0, 4000), Buffer.alloc(5000, 0xaa)]),
  );
  await mkdir(folder.join("folder.db"));
  const before = folder.content();
  const cases: Record<string, RegExp> = {
    "missing.db": /^Cannot open the database ".*missing\.db": there is no such file$/,
    "no such folder/x.db": /^Cannot open the database ".*x\.db": there is no such file$/,
    "folder.db": /^Cannot open the database ".*folder\.db": it is not a file$/,
    "text.db": /^Cannot open the database ".*text\.db": the file is not an SQLite database$/,
    "short.db": /^Cannot open the database ".*short\.db": the file is not an SQLite database$/,
    "damaged.db": /^Cannot open the database ".*damaged\.db": database disk image is malformed$/,
  };
  for (const [name, sentence] of Object.entries(cases)) {
    // A database that is missing may come from a snapshot: see snapshot_test.ts.
    const isMissing = !existsSync(folder.join(name));
    for (const flags of [isMissing ? ["-enable-snapshot=false"] : [], ["-cleanup"]]) {
      await t.step([name, ...flags].join(" "), async () => {
        const ended = await runMarmot(["-db-path", folder.join(name), ...inFolder(folder), ...flags]);
        assert.equal(ended.code, 1, ended.stderr);
        assert.match(ended.sentence, sentence);
        assert.deepEqual(folder.content(), before);
      });
    }
  }
});

Deno.test("a database that may not be written is said, and stays as it is", {
  // Windows has no modes to take away.
  ignore: process.platform === "win32",
}, async (t) => {
  for (const journal of ["delete", "wal"]) {
    for (const what of ["file", "folder"]) {
      await t.step(`${what}, journal mode ${journal}`, async () => {
        await using folder = await Folder.make();
        const path = folder.database("app.db", { journal });
        const before = folder.content();
        if (what === "file") await chmod(path, 0o444);
        else await chmod(folder.path, 0o555);
        const ended = await runMarmot(["-db-path", path, ...inFolder(folder)], { mayNotOverride: true });
        assert.equal(ended.code, 1, ended.stderr);
        assert.match(ended.sentence, /^Cannot open the database ".*app\.db": .*(readonly|unable to open)/);
        await chmod(folder.path, 0o755);
        // SQLite may leave an empty WAL beside it.
        assert.equal(folder.content().get(path), before.get(path));
      });
    }
  }
});

Deno.test("an empty file is an empty database, and is replicated once the application makes tables", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: "", isStarted: false });
  for (const node of cluster.nodes) {
    node.application.close();
    await rm(node.path);
    await writeFile(node.path, "");
    node.application.open();
    await node.start();
  }
  for (const node of cluster.nodes) node.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  cluster.node(1).sql("INSERT INTO t VALUES (1, 'one')");
  const content = await cluster.converge();
  assert.equal(content.get("t")?.split("\n").length, 1);
  await waitUntil(() => cluster.findDifference() === undefined, {
    timeoutMs: 5_000,
    what: () => "not equal",
  });
});

Deno.test("wrong usage ends with 2 before anything is opened", async (t) => {
  await using folder = await Folder.make();
  const path = folder.database("app.db");
  const before = folder.content();
  const cases: [string[], RegExp][] = [
    [["-shards", "0"], /^Cannot use -shards "0": it must be a whole number from 1 to 1024$/],
    [["-shards=-3"], /^Cannot use -shards "-3"/],
    [["-shards", "many"], /^Cannot use -shards "many"/],
    [["-shrads", "8"], /^Cannot use -shrads: there is no such flag, did you mean -shards\?$/],
    [["-nats-ulr", "x"], /did you mean -nats-url\?$/],
    [["-node-id", "-1"], /^Cannot use -node-id "-1"/],
    [["-node-id", "18446744073709551616"], /^Cannot use -node-id "18446744073709551616"/],
    [["-nats-url", "http://127.0.0.1:4222"], /^Cannot use -nats-url: the URL begins with http:\/\//],
    [["-nats-url", "nats://127.0.0.1:99999"], /^Cannot use -nats-url: /],
    [["-wire-format", "v0.7"], /^Cannot use -wire-format "v0.7"/],
    [["-db-path"], /^Cannot use -db-path: its value is missing$/],
    [["compress"], /^Cannot use "compress": it is neither a flag nor the value of one$/],
  ];
  for (const [args, sentence] of cases) {
    await t.step(args.join(" "), async () => {
      const ended = await runMarmot(["-db-path", path, ...inFolder(folder), ...args]);
      assert.match(ended.sentence, sentence);
      assert.equal(ended.code, 2);
      assert.deepEqual(folder.content(), before);
    });
  }
});

Deno.test("credentials that the server refuses end the start with 1", async (t) => {
  await using folder = await Folder.make();
  const path = folder.database("app.db");
  await using server = await NatsServer.start({ auth: { user: "marmot", password: "p@ss:word/1" } });
  const urls = {
    "none": `nats://127.0.0.1:${server.port}`,
    "a wrong password": `nats://marmot:secret@127.0.0.1:${server.port}`,
    "a token": `nats://token@127.0.0.1:${server.port}`,
  };
  for (const [name, url] of Object.entries(urls)) {
    await t.step(name, async () => {
      const ended = await runMarmot(["-db-path", path, ...inFolder(folder), "-nats-url", url]);
      assert.equal(ended.code, 1, ended.stderr);
      assert.match(ended.sentence, /^Cannot connect to NATS: authorization violation$/i);
      assert.doesNotMatch(ended.stderr, /secret/);
    });
  }
});

Deno.test("a server without JetStream ends the start with 1", async () => {
  await using folder = await Folder.make();
  await using server = await NatsServer.start({ jetStream: false });
  const path = folder.database("app.db");
  const ended = await runMarmot(["-db-path", path, ...inFolder(folder), "-nats-url", server.url]);
  assert.equal(ended.code, 1);
  assert.equal(ended.sentence, "Cannot set up the streams: JetStream is not enabled on the NATS server");
});

Deno.test("a number of shards that the streams do not have ends the start with 2 and names both", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    schema: SCHEMA,
    flags: ["-shards", "4"],
    isStarted: false,
  });
  await using hand = await HandPublisher.connect(cluster.server);
  await cluster.node(1).start();
  const before = await streamNames(hand);
  await cluster.node(2).start({ isAwaited: false, flags: ["-shards", "8"] });
  assert.equal(await cluster.node(2).waitForExit(), 2);
  assert.match(
    cluster.node(2).log,
    /^marmot: Cannot use streams "marmot-changes-\*" with shards = 8: they were made with shards = 4$/m,
  );
  assert.deepEqual(await streamNames(hand), before);
  // With the right number it goes on, and nothing that was written meanwhile is lost.
  cluster.node(2).sql("INSERT INTO t VALUES (2, 'after the mistake')");
  await cluster.node(2).start();
  const content = await cluster.converge();
  assert.equal(content.get("t")?.split("\n").length, 2);
});

async function streamNames(hand: HandPublisher): Promise<string[]> {
  const names: string[] = [];
  for await (const name of hand.manager.streams.names()) names.push(name);
  return names.sort();
}

Deno.test("a port where something else listens is said, and NATS is used as soon as it is there", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, isStarted: false });
  await cluster.server.stop();
  const stranger = createServer((socket) =>
    socket.on("error", () => {}).end("220 mail.example.org ESMTP\r\n")
  );
  stranger.listen(cluster.server.port, "127.0.0.1");
  await once(stranger, "listening");
  const node = cluster.node(1);
  try {
    await node.start({ isAwaited: false });
    await node.waitForLog(/WARN {2}cannot connect to NATS, trying again .*does not speak NATS/);
    assert.ok(node.isRunning);
  } finally {
    stranger.close();
  }
  await cluster.server.restart();
  await node.waitForLog(/ replicating/);
  assert.equal(await node.stop(), 0);
});

Deno.test("a host that has no address is said and tried again, and the node can be stopped meanwhile", async () => {
  await using cluster = await Cluster.start({ nodes: 1, schema: SCHEMA, isStarted: false });
  const node = cluster.node(1);
  await node.start({ isAwaited: false, flags: ["-nats-url", "nats://no-such-host.invalid:4222"] });
  await node.waitForLog(/WARN {2}cannot connect to NATS, trying again .*no-such-host\.invalid/);
  assert.equal(await node.stop(), 0);
});

Deno.test("a seq-map file that cannot be written is said once, and the node replicates without it", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, isStarted: false });
  const flags = ["-seq-map-path", join(cluster.folder, "no such folder", "seq-map.cbor")];
  for (const node of cluster.nodes) await node.start({ flags });
  cluster.node(1).sql("INSERT INTO t VALUES (2, 'two')");
  await cluster.node(1).waitForLog(/WARN {2}cannot write the seq-map file/);
  cluster.node(1).sql("INSERT INTO t VALUES (3, 'three')");
  await cluster.converge();
  assert.equal(await cluster.node(1).stop(), 0);
  assert.equal(cluster.node(1).log.match(/cannot write the seq-map file/g)?.length, 1);
});
