/** Nodes on one in-memory broker whose schemas are changed one after the other, in virtual time. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryServer } from "../simulation/memory_server.ts";
import { Random } from "../simulation/random.ts";
import { SimulatedNode } from "../simulation/simulated_node.ts";
import { VirtualTime } from "../simulation/virtual_time.ts";

const REST_MS = 120_000;

export interface RolloutOptions {
  readonly nodes: number;
  readonly schema: string;
  readonly seed?: number;
  readonly shards?: number;
  /** How many messages a stream keeps; all unless told. */
  readonly maxMessages?: number;
}

export class Rollout implements Disposable {
  readonly time = new VirtualTime();
  readonly random: Random;
  readonly server: MemoryServer;
  readonly nodes: SimulatedNode[];
  readonly idleLookMs = 20;
  readonly #folder = mkdtempSync(join(tmpdir(), "marmot-rollout-"));

  constructor({ nodes, schema, seed = 1, shards = 2, maxMessages = Infinity }: RolloutOptions) {
    this.random = new Random(seed);
    this.server = new MemoryServer(shards, this.time, this.random, { maxMessages });
    this.nodes = Array.from(
      { length: nodes },
      (_, i) => new SimulatedNode(i + 1, { folder: this.#folder, schema }),
    );
    for (const node of this.nodes) node.start(this);
  }

  /** The node with this id, from 1. */
  node(id: number): SimulatedNode {
    const node = this.nodes[id - 1];
    if (!node) throw new RangeError(`there is no node ${id}`);
    return node;
  }

  /** Runs SQL as the application of a node, in one transaction if it says so itself. */
  sql(id: number, sql: string): void {
    this.node(id).application.exec(sql);
  }

  rows(id: number, sql: string): unknown[][] {
    const statement = this.node(id).application.prepare(sql);
    statement.setReturnArrays(true);
    return statement.all() as unknown as unknown[][];
  }

  /** Lets time pass until every node has read everything and nothing is pending; parked messages may remain. */
  async rest(): Promise<void> {
    let unrest: string | undefined;
    for (let passedMs = 0; passedMs < REST_MS; passedMs += 250) {
      await this.time.pass(250);
      for (const node of this.nodes) if (node.failure !== undefined) throw node.failure;
      unrest = this.nodes.map((node) => node.unrest(this.server)).find((text) => text !== undefined);
      if (unrest === undefined) return;
    }
    throw new Error(`no rest after ${REST_MS} ms: ${unrest}`);
  }

  /** Rests, and asserts that all nodes hold the same, with nothing parked, hidden or in quarantine. */
  async converge(): Promise<void> {
    await this.rest();
    const wanted = Object.fromEntries(this.node(1).dump());
    for (const { id } of this.nodes) {
      const aside = ["parked", "hidden", "quarantine"].map((what) =>
        this.rows(id, `SELECT '${what}', count(*) FROM __marmot__${what}`)[0]
      );
      const left = this.rows(id, "SELECT table_name, reason FROM __marmot__parked");
      assert.deepEqual(
        aside,
        [["parked", 0], ["hidden", 0], ["quarantine", 0]],
        `node ${id}: ${JSON.stringify(left)}`,
      );
      assert.deepEqual(Object.fromEntries(this.node(id).dump()), wanted, `node ${id} differs from node 1`);
    }
  }

  [Symbol.dispose](): void {
    for (const node of this.nodes) void node.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
