/** What a node does with changes that were captured before it ran, when publishing them does not go well. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { Node } from "../../src/node/node.ts";
import { silentLog } from "../../src/observability/log.ts";
import { PublishError, type PublishFailure, type PublishRequest } from "../../src/stream/change_streams.ts";
import { MemoryServer } from "../simulation/memory_server.ts";
import { MemoryStreams } from "../simulation/memory_streams.ts";
import { Random } from "../simulation/random.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";
import { RecordedLog } from "../stream/server_world.ts";

/** Streams on which so many publishes fail. */
class FailingStreams extends MemoryStreams {
  failures = 0;
  failure: PublishFailure = "unknown";

  override publish(request: PublishRequest): Promise<number> {
    if (this.failures === 0) return super.publish(request);
    this.failures--;
    return Promise.reject(new PublishError(this.failure, "as the test wants it"));
  }
}

/** A node on virtual time that starts with one pending change. */
class PendingWorld implements Disposable {
  readonly application: DatabaseSync;
  readonly time = new VirtualTime();
  readonly server: MemoryServer;
  readonly streams: FailingStreams;
  readonly log = new RecordedLog();
  readonly #folder = mkdtempSync(join(tmpdir(), "marmot-checked-"));
  readonly #life = new Life(this.time);
  readonly #random = new Random(1);
  readonly #replica: Replica;

  constructor() {
    const path = join(this.#folder, "node.db");
    this.application = new DatabaseSync(path);
    this.application.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    this.server = new MemoryServer(1, this.time, this.#random);
    this.streams = new FailingStreams(this.server, this.#life);
    this.#replica = Replica.open(path, {
      nodeId: 1n,
      makeNodeId: () => 1n,
      readSeqMap: () => new Map(),
      nowMs: () => this.#life.nowMs(),
      log: silentLog,
    });
    this.#replica.arm();
    this.insert(1);
  }

  insert(id: number): void {
    this.application.exec(`INSERT INTO t VALUES (${id}, '')`);
  }

  start(): void {
    const ports = { clock: this.#life, random: this.#random.next, streams: this.streams, log: this.log };
    void new Node(this.#replica, ports, { wireFormat: "batch", compress: false }).run(
      new AbortController().signal,
    );
  }

  get published(): number {
    return this.server.log(1).length;
  }

  get pending(): unknown {
    const sql = "SELECT count(*) AS n FROM __marmot__change_log WHERE kind <> 3";
    return this.application.prepare(sql).get()?.["n"];
  }

  get warnings(): number {
    return this.log.lines.filter(({ level, event }) =>
      level === "warn" && event.startsWith("publishing failed")
    )
      .length;
  }

  [Symbol.dispose](): void {
    this.#life.isOver = true;
    this.#replica.close();
    this.application.close();
    rmSync(this.#folder, { recursive: true });
  }
}

Deno.test("a node that others are faster than a hundred times gets its changes through within two seconds", async () => {
  using world = new PendingWorld();
  world.streams.failure = "refused";
  world.streams.failures = 100;
  world.start();
  await world.time.pass(2_000);
  assert.equal(world.streams.failures, 0);
  assert.deepEqual([world.published, world.pending, world.warnings], [1, 0, 0]);
  // What comes now goes without a condition.
  world.insert(2);
  await world.time.pass(100);
  assert.deepEqual([world.published, world.pending], [2, 0]);
});

Deno.test("that publishing fails is said once, also by a node that has not published yet, and again the next time", async () => {
  using world = new PendingWorld();
  world.streams.failures = 4;
  world.start();
  await world.time.pass(3_000);
  assert.deepEqual([world.streams.failures, world.published, world.warnings], [0, 1, 1]);
  world.streams.failures = 2;
  world.insert(2);
  await world.time.pass(3_000);
  assert.deepEqual([world.streams.failures, world.published, world.warnings], [0, 2, 2]);
});
