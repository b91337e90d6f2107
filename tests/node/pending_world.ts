/** A node on virtual time that starts with one pending change, over streams that fail as a test wants it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { Node, type NodeOptions } from "../../src/node/node.ts";
import { silentLog } from "../../src/observability/log.ts";
import {
  PublishError,
  type PublishFailure,
  type PublishRequest,
  type StoredMessage,
} from "../../src/stream/change_streams.ts";
import { MemoryServer } from "../simulation/memory_server.ts";
import { MemoryStreams } from "../simulation/memory_streams.ts";
import { Random } from "../simulation/random.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";
import { RecordedLog } from "../stream/server_world.ts";

/** Streams on which so many publishes fail, and whose answers can be kept back. */
export class FailingStreams extends MemoryStreams {
  failures = 0;
  failure: PublishFailure = "unknown";
  /** What was sent. */
  readonly sent: PublishRequest[] = [];
  /** Whether questions for the last sequence of a table wait until they are let go. */
  holdsAnswers = false;
  /** Lets go what waits, the oldest first. */
  readonly held: (() => void)[] = [];
  /** Called before a message is looked up. */
  onLookUp: (sequence: number) => void = () => {};

  override publish(request: PublishRequest): Promise<number> {
    this.sent.push(request);
    if (this.failures === 0) return super.publish(request);
    this.failures--;
    return Promise.reject(new PublishError(this.failure, "as the test wants it"));
  }

  override async lastSequenceOfTable(shard: number, table: string): Promise<number> {
    if (this.holdsAnswers) await new Promise<void>((resolve) => this.held.push(resolve));
    return await super.lastSequenceOfTable(shard, table);
  }

  override messageAt(shard: number, sequence: number): Promise<StoredMessage | undefined> {
    this.onLookUp(sequence);
    return super.messageAt(shard, sequence);
  }
}

export class PendingWorld implements Disposable {
  readonly application: DatabaseSync;
  readonly time = new VirtualTime();
  readonly server: MemoryServer;
  /** Of the process of now. */
  streams: FailingStreams;
  readonly log = new RecordedLog();
  readonly #folder = mkdtempSync(join(tmpdir(), "marmot-checked-"));
  readonly #path = join(this.#folder, "node.db");
  readonly #random = new Random(1);
  #life = new Life(this.time);
  #replica: Replica;

  constructor() {
    this.application = new DatabaseSync(this.#path);
    this.application.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    this.server = new MemoryServer(1, this.time, this.#random);
    this.streams = new FailingStreams(this.server, this.#life);
    this.#replica = this.#open();
    this.insert(1);
  }

  /** Ends the process where it is; the next one is not started yet. */
  crash(): void {
    this.#life.isOver = true;
    this.#replica.close();
    this.#life = new Life(this.time);
    this.streams = new FailingStreams(this.server, this.#life);
    this.#replica = this.#open();
  }

  #open(): Replica {
    const life = this.#life;
    const replica = Replica.open(this.#path, {
      nodeId: 1n,
      makeNodeId: () => 1n,
      readSeqMap: () => new Map(),
      nowMs: () => life.nowMs(),
      log: silentLog,
    });
    replica.arm();
    return replica;
  }

  insert(id: number): void {
    this.application.exec(`INSERT INTO t VALUES (${id}, '')`);
  }

  /** What has ended the node, if something has. */
  failure: unknown;

  start(options: Partial<NodeOptions> = {}): void {
    const ports = { clock: this.#life, random: this.#random.next, streams: this.streams, log: this.log };
    const node = new Node(this.#replica, ports, { wireFormat: "batch", compress: false, ...options });
    node.run(new AbortController().signal).catch((error) => this.failure = error);
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
