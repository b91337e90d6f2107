/** Nodes that verify can ask, without a broker and without waiting. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Replica } from "../../src/db/replica.ts";
import { Node } from "../../src/node/node.ts";
import { type Answer, decodeAnswer, type Question } from "../../src/node/verify/verify_protocol.ts";
import { VerifyService } from "../../src/node/verify/verify_service.ts";
import { silentLog } from "../../src/observability/log.ts";
import { MemoryServer } from "../simulation/memory_server.ts";
import { MemoryStreams } from "../simulation/memory_streams.ts";
import { Random } from "../simulation/random.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";

export interface VerifyWorldOptions {
  readonly schema: string;
  /** Two unless told. */
  readonly nodes?: number;
  /** One unless told. */
  readonly shards?: number;
  readonly seed?: number;
}

/** Nodes on virtual time over one memory of streams, each with what answers verify. */
export class VerifyWorld implements Disposable {
  readonly random: Random;
  readonly time = new VirtualTime();
  readonly server: MemoryServer;
  readonly nodes: { application: DatabaseSync; node: Node; service: VerifyService; replica: Replica }[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), "marmot-verify-"));
  readonly #life: Life;

  constructor({ schema, nodes = 2, shards = 1, seed = 1 }: VerifyWorldOptions) {
    const random = this.random = new Random(seed);
    this.server = new MemoryServer(shards, this.time, random);
    const life = this.#life = new Life(this.time);
    for (let nodeId = 1n; nodeId <= nodes; nodeId++) {
      const path = join(this.#folder, `${nodeId}.db`);
      const application = new DatabaseSync(path);
      application.exec(`PRAGMA journal_mode = WAL; ${schema}`);
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

  at(id: number) {
    return this.nodes[id - 1]!;
  }

  /** Lets time pass until the promise is settled. */
  async during<T>(promise: Promise<T>, whilePassing: () => void = () => {}): Promise<T> {
    let isSettled = false;
    void promise.catch(() => {}).finally(() => isSettled = true);
    while (!isSettled) {
      await this.time.pass(2);
      whilePassing();
    }
    return await promise;
  }

  /** Asks until the answer is ready, letting time pass. */
  async ask(id: number, question: Question): Promise<Exclude<Answer, { state: "working" }>> {
    const bytes = new TextEncoder().encode(JSON.stringify(question));
    for (;;) {
      const answer = decodeAnswer(await this.during(this.at(id).service.answer(bytes)));
      if (answer.state !== "working") return answer;
    }
  }

  async value<T>(id: number, question: Question): Promise<T> {
    const answer = await this.ask(id, question);
    assert.equal(answer.state, "done", JSON.stringify(answer));
    return (answer as { value: T }).value;
  }

  async failure(id: number, question: Question): Promise<string> {
    const answer = await this.ask(id, question);
    assert.equal(answer.state, "failed", JSON.stringify(answer));
    return (answer as { reason: string }).reason;
  }

  count(id: number): number {
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
