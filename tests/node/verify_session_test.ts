/** What a node does for one verify: how long it stands still, what it looks at, and when it gives up. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { SnapshotDescription } from "../../src/db/verify/database_snapshot.ts";
import { Replica } from "../../src/db/replica.ts";
import { Node } from "../../src/node/node.ts";
import { type Answer, decodeAnswer, type Question } from "../../src/node/verify/verify_protocol.ts";
import { VerifyService } from "../../src/node/verify/verify_service.ts";
import { silentLog } from "../../src/observability/log.ts";
import { MemoryServer, MemoryStreams } from "../simulation/memory_streams.ts";
import { Random } from "../simulation/random.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";

/** Two nodes on virtual time over one memory of streams, each with what answers verify. */
class World implements Disposable {
  readonly time = new VirtualTime();
  readonly server: MemoryServer;
  readonly nodes: { application: DatabaseSync; node: Node; service: VerifyService; replica: Replica }[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), "marmot-verify-"));
  readonly #life: Life;

  constructor(shards: number) {
    const random = new Random(1);
    this.server = new MemoryServer(shards, this.time, random);
    const life = this.#life = new Life(this.time);
    for (const nodeId of [1n, 2n]) {
      const path = join(this.#folder, `${nodeId}.db`);
      const application = new DatabaseSync(path);
      application.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
      const replica = Replica.open(path, {
        nodeId,
        makeNodeId: () => nodeId,
        readSeqMap: () => new Map(),
        nowMs: () => life.nowMs(),
        log: silentLog,
      });
      const streams = new MemoryStreams(this.server, life);
      const ports = { clock: life, random: random.next, streams, log: silentLog };
      const node = new Node(replica, ports, { wireFormat: "batch", compress: false });
      const service = new VerifyService({
        nodeId,
        dbPath: path,
        barrier: node.applyBarrier,
        cursors: () => node.cursors(),
        clock: life,
        log: silentLog,
      });
      this.nodes.push({ application, node, service, replica });
      void node.run(new AbortController().signal);
      void service.run(new AbortController().signal);
    }
  }

  at(id: 1 | 2) {
    return this.nodes[id - 1]!;
  }

  /** Asks until the answer is ready, letting time pass. */
  async ask(id: 1 | 2, question: Question): Promise<Exclude<Answer, { state: "working" }>> {
    const bytes = new TextEncoder().encode(JSON.stringify(question));
    for (;;) {
      let answer: Answer | undefined;
      void this.at(id).service.answer(bytes).then((encoded) => answer = decodeAnswer(encoded));
      while (!answer) await this.time.pass(10);
      if (answer.state !== "working") return answer;
    }
  }

  async value<T>(id: 1 | 2, question: Question): Promise<T> {
    const answer = await this.ask(id, question);
    assert.equal(answer.state, "done", JSON.stringify(answer));
    return (answer as { value: T }).value;
  }

  async failure(id: 1 | 2, question: Question): Promise<string> {
    const answer = await this.ask(id, question);
    assert.equal(answer.state, "failed", JSON.stringify(answer));
    return (answer as { reason: string }).reason;
  }

  count(id: 1 | 2): number {
    return Number(this.at(id).application.prepare("SELECT count(*) AS n FROM t").get()?.["n"]);
  }

  [Symbol.dispose](): void {
    this.#life.isOver = true;
    for (const { replica, application } of this.nodes) {
      replica.close();
      application.close();
    }
    rmSync(this.#folder, { recursive: true });
  }
}

const HOLD: Question = { kind: "hold", session: "s" };
const END: Question = { kind: "end", session: "s" };
const DIGEST: Question = { kind: "digest", session: "s", table: "t", columns: ["id", "v"] };

type Cursors = [string, number][];

Deno.test("a node that is held applies nothing, then goes on to the target and not past it", async () => {
  using world = new World(1);
  await world.time.pass(1000);
  const [[stream, before]] = await world.value<[[string, number]]>(2, HOLD);
  for (let id = 1; id <= 3; id++) {
    world.at(1).application.exec(`INSERT INTO t VALUES (${id}, 'x')`);
    await world.time.pass(100);
  }
  assert.equal(world.server.log(1).length, 3);
  assert.equal(world.count(2), 0, "applied while held");
  const target: Cursors = [[stream, before + 2]];
  const { cursors } = await world.value<SnapshotDescription>(2, { kind: "snapshot", session: "s", target });
  assert.deepEqual(cursors, target);
  await world.time.pass(100);
  assert.equal(world.count(2), 3, "did not go on after its snapshot");
  assert.equal((await world.value<{ rows: number }>(2, DIGEST)).rows, 2);
  await world.value(2, END);
  assert.match(await world.failure(2, DIGEST), /given up this comparison/);
});

Deno.test("a node that is never told where to go on goes on by itself", async () => {
  using world = new World(1);
  await world.time.pass(1000);
  const target = await world.value<Cursors>(2, HOLD);
  world.at(1).application.exec("INSERT INTO t VALUES (1, 'x')");
  await world.time.pass(2000);
  assert.equal(world.count(2), 0);
  await world.time.pass(1500);
  assert.equal(world.count(2), 1);
  assert.match(await world.failure(2, { kind: "snapshot", session: "s", target }), /asked too late/);
});

Deno.test("a node that does not reach the target says how far it is behind, and goes on", async () => {
  using world = new World(1);
  await world.time.pass(1000);
  const [[stream]] = await world.value<[[string, number]]>(2, HOLD);
  const failure = await world.failure(2, { kind: "snapshot", session: "s", target: [[stream, 5]] });
  assert.match(failure, /^it is 5 messages behind/);
  world.at(1).application.exec("INSERT INTO t VALUES (1, 'x')");
  await world.time.pass(200);
  assert.equal(world.count(2), 1);
});

Deno.test("a node gives up its snapshot when its asker is gone, and is free for the next", async () => {
  using world = new World(1);
  await world.time.pass(1000);
  const target = await world.value<Cursors>(1, HOLD);
  await world.value(1, { kind: "snapshot", session: "s", target });
  assert.match(await world.failure(1, { kind: "hold", session: "other" }), /another marmot verify/);
  // With a snapshot open the WAL cannot be emptied.
  const truncate = () => world.at(1).application.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.["busy"];
  world.at(1).application.exec("INSERT INTO t VALUES (1, 'x')");
  assert.equal(truncate(), 1);
  await world.time.pass(11_000);
  assert.equal(truncate(), 0);
  await world.value(1, { kind: "hold", session: "other" });
});

Deno.test("with several shards a node stands at all sequences at once", async () => {
  using world = new World(3);
  for (const { application } of world.nodes) {
    application.exec("CREATE TABLE u (id INTEGER PRIMARY KEY); CREATE TABLE w (id INTEGER PRIMARY KEY)");
  }
  await world.time.pass(1000);
  for (const table of ["t", "u", "w"]) world.at(1).application.exec(`INSERT INTO ${table} (id) VALUES (1)`);
  await world.time.pass(500);
  const target = await world.value<Cursors>(2, HOLD);
  assert.equal(target.reduce((sum, [, sequence]) => sum + sequence, 0), 3);
  for (const table of ["t", "u", "w"]) world.at(1).application.exec(`INSERT INTO ${table} (id) VALUES (2)`);
  await world.time.pass(500);
  const { cursors } = await world.value<SnapshotDescription>(2, { kind: "snapshot", session: "s", target });
  const reached = new Map<string, number>(cursors);
  for (const [stream, sequence] of target) assert.equal(reached.get(stream) ?? 0, sequence, stream);
  for (const table of ["t", "u", "w"]) {
    const question: Question = { kind: "digest", session: "s", table, columns: ["id"] };
    assert.equal((await world.value<{ rows: number }>(2, question)).rows, 1, table);
  }
});

Deno.test("a question that is none is answered with a sentence", async () => {
  using world = new World(1);
  const { service } = world.at(1);
  const questions = [
    "",
    "null",
    "[]",
    "{}",
    '{"kind":"digest"}',
    '{"kind":"snapshot","session":"s","target":[["a"]]}',
    "\u0000",
  ];
  for (const question of [...questions, `{"kind":"hold","session":""}`]) {
    const answer = decodeAnswer(await service.answer(new TextEncoder().encode(question)));
    assert.equal(answer.state, "failed", question);
  }
  assert.match(await world.failure(1, DIGEST), /given up this comparison/);
});
