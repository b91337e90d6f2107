/**
 * One history: nodes that write, crash, are cut off and start again, drawn from a seed; then everything heals, and it
 * must hold: P1 all tables are equal; P2 what nobody contended is there; P4 at every step a row of one's own is what
 * the application made it; nothing is left pending or hidden at rest.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { existsSync } from "node:fs";
import { dumpTables } from "../../scripts/table_dump.ts";
import { HEALTHY, MemoryServer } from "./memory_streams.ts";
import { Random } from "./random.ts";
import { SimulatedNode } from "./simulated_node.ts";
import { VirtualTime } from "./virtual_time.ts";
import { drawTransaction, type Mode, TABLES } from "./workload.ts";

/** What went wrong, and the history that led there. */
export interface Failure {
  readonly seed: number;
  readonly reason: string;
  readonly trace: readonly string[];
}

const STEPS = [
  "write",
  "write",
  "write",
  "window",
  "crash",
  "crash inside",
  "start",
  "cut off",
  "reconnect",
  "stall",
  "stall",
  "resume",
  "lock",
  "wait",
] as const;
const HEAL_MS = 60_000;

class World {
  readonly random: Random;
  readonly time = new VirtualTime();
  readonly server: MemoryServer;
  readonly nodes: SimulatedNode[] = [];
  readonly trace: string[] = [];
  readonly mode: Mode;
  readonly tables: string[];
  readonly #folder: string;
  /** How late a node may see that its database has changed. */
  readonly idleLookMs: number;
  readonly #steps: (typeof STEPS[number])[];

  constructor(seed: number) {
    const random = this.random = new Random(seed);
    this.mode = random.pick<Mode>(["any", "any", "sole", "own"]);
    const names = Object.keys(TABLES);
    this.tables = names.filter(() => random.chance(0.25));
    if (this.tables.length === 0) this.tables.push(random.pick(names));
    this.idleLookMs = random.pick([10, 50, 200]);
    this.server = new MemoryServer(1 + random.below(3), this.time, random);
    // Each history has a taste of its own.
    this.#steps = ["write", "write", "write", ...Array.from({ length: 6 }, () => random.pick(STEPS))];
    const memory = "/dev/shm";
    this.#folder = mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), "marmot-simulation-"));
    const schema = this.tables.map((name) => TABLES[name]).join("; ");
    const count = 2 + random.below(2);
    for (let id = 1; id <= count; id++) {
      this.nodes.push(new SimulatedNode(id, { folder: this.#folder, schema }));
    }
    this.note(
      `${count} nodes, ${this.server.shards} shards, mode ${this.mode}, tables ${this.tables.join(", ")}`,
    );
  }

  note(text: string): void {
    this.trace.push(`${(this.time.nowMs % 1_000_000).toString().padStart(6)} ${text}`);
  }

  async run(): Promise<string | undefined> {
    const { random } = this;
    for (const node of this.nodes) node.start(this);
    await this.time.pass(20);
    const severity = random.pick([0, 0.1, 0.3]);
    this.server.network = {
      ackLost: severity * random.next(),
      late: severity * random.next(),
      lost: severity * random.next(),
      latencyMs: random.pick([2, 20, 100]),
    };
    for (let left = 5 + random.below(65); left > 0; left--) {
      this.#step();
      await this.time.pass(random.pick([0, 0, 0, 0, 1, 3, 10, 30, 100, 400]));
      const problem = this.#findProblem();
      if (problem) return problem;
    }
    this.note("everything heals");
    return await this.#heal();
  }

  end(): void {
    for (const node of this.nodes) void node.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #step(): void {
    const { random } = this;
    const step = random.pick(this.#steps);
    const node = this.mode === "sole" && step === "write" ? this.nodes[0] : random.pick(this.nodes);
    if (!node) return;
    if (step === "write") {
      if (node.isLocked) return;
      const statements = drawTransaction(random, { tables: this.tables, mode: this.mode, node: node.id });
      node.write(statements);
      this.note(`node ${node.id} writes ${statements.join("; ")}`);
    } else if (step === "window") {
      const open = this.mode === "any" ? node : this.nodes[0];
      if (!open || open.isLocked) return;
      const statements = drawTransaction(random, { tables: this.tables, mode: this.mode, node: open.id });
      open.writeWithoutCapture(statements);
      this.note(`node ${open.id} writes without capture ${statements.join("; ")}`);
    } else if (step === "crash" && node.isAlive) {
      node.crash();
      this.note(`node ${node.id} crashes`);
    } else if (step === "crash inside" && node.isAlive) {
      node.crashInTransaction();
      this.note(`node ${node.id} will crash in a transaction`);
    } else if (step === "start") {
      for (const dead of this.nodes) {
        dead.bury();
        if (dead.isAlive || dead.isLocked) continue;
        dead.start(this);
        this.note(`node ${dead.id} starts`);
      }
    } else if (step === "cut off" && node.streams) {
      node.streams.isCutOff = true;
      node.streams.interrupt();
      this.note(`node ${node.id} is cut off`);
    } else if (step === "reconnect") {
      for (const cut of this.nodes) {
        if (!cut.streams) continue;
        cut.streams.isCutOff = false;
        cut.streams.interrupt();
      }
      this.note("connections are back");
    } else if (step === "stall" && node.streams) {
      node.streams.isStalled = true;
      this.note(`node ${node.id} is not delivered anything`);
    } else if (step === "resume") {
      this.#resume();
      this.note("all nodes are delivered again");
    } else if (step === "lock") {
      if (node.isLocked) node.release();
      else node.hold();
      this.note(`node ${node.id}'s application ${node.isLocked ? "holds" : "releases"} the write lock`);
    }
  }

  #resume(): void {
    for (const { streams } of this.nodes) {
      if (!streams) continue;
      streams.isStalled = false;
      streams.wakeReaders();
    }
  }

  async #heal(): Promise<string | undefined> {
    this.server.network = HEALTHY;
    this.#resume();
    for (const node of this.nodes) {
      node.release();
      node.bury();
      if (!node.isAlive) node.start(this);
      if (node.streams) node.streams.isCutOff = false;
      node.streams?.interrupt();
    }
    let unrest: string | undefined;
    for (let passedMs = 0; passedMs < HEAL_MS; passedMs += 250) {
      await this.time.pass(250);
      for (const node of this.nodes) {
        node.bury();
        if (!node.isAlive) node.start(this);
      }
      unrest = this.server.late > 0 ? "late messages" : this.#findUnrest();
      const problem = this.#findProblem();
      if (problem) return problem;
      if (unrest === undefined) return this.#findDifference();
    }
    return `no rest after ${HEAL_MS} ms: ${unrest}`;
  }

  #findUnrest(): string | undefined {
    for (const node of this.nodes) {
      const unrest = node.unrest(this.server);
      if (unrest !== undefined) return `node ${node.id}: ${unrest}`;
    }
    return undefined;
  }

  /** What must hold at every step. */
  #findProblem(): string | undefined {
    for (const node of this.nodes) {
      if (node.failure !== undefined) {
        const { failure } = node;
        return `node ${node.id} ended: ${failure instanceof Error ? failure.stack : String(failure)}`;
      }
      node.bury();
    }
    if (this.mode === "any") return undefined;
    for (const node of this.mode === "sole" ? this.nodes.slice(0, 1) : this.nodes) {
      const difference = this.#compareWithOracle(node, node);
      if (difference) return `replication changed what the only writer wrote: ${difference}`;
    }
    return undefined;
  }

  #findDifference(): string | undefined {
    const [first, ...others] = this.nodes;
    if (!first) return undefined;
    const expected = first.dump();
    for (const node of others) {
      for (const [table, content] of node.dump()) {
        const wanted = expected.get(table);
        if (content !== wanted) return `node ${node.id} has ${table}:\n${content}\nnode 1 has:\n${wanted}`;
      }
    }
    const hidden = this.nodes.find((node) => node.countHidden() > 0);
    if (hidden) return `node ${hidden.id} has hidden rows at rest`;
    if (this.mode === "any") return undefined;
    const writers = this.mode === "sole" ? [first] : this.nodes;
    for (const writer of writers) {
      for (const node of this.nodes) {
        const difference = this.#compareWithOracle(node, writer);
        if (difference) return `lost change: node ${node.id}, ${difference}`;
      }
    }
    return undefined;
  }

  /** Compares the rows that `writer` alone writes: all in mode "sole", those of its own numbers else. */
  #compareWithOracle(node: SimulatedNode, writer: SimulatedNode): string | undefined {
    const real = dumpTables(node.application);
    for (const [table, wanted] of dumpTables(writer.oracle)) {
      const here = this.#ownRows(real.get(table) ?? "", { table, writer });
      const there = this.#ownRows(wanted, { table, writer });
      if (here !== there) {
        return `table ${table} of node ${node.id}:\n${here}\nthe application of node ${writer.id} made:\n${there}`;
      }
    }
    return undefined;
  }

  #ownRows(content: string, { table, writer }: { table: string; writer: SimulatedNode }): string {
    if (this.mode === "sole") return content;
    return content.split("\n").filter((line) => {
      const key = line.split(",")[1] ?? "";
      if (table === "folded") return key.endsWith(`3${writer.id}`);
      return Math.floor(Number(key) / 100) === writer.id;
    }).join("\n");
  }
}

/** Runs the history of a seed; undefined if everything held. */
export async function runHistory(seed: number): Promise<Failure | undefined> {
  const { reason, trace } = await play(seed);
  return reason === undefined ? undefined : { seed, reason, trace };
}

/** What happened in the history of a seed, and what every stream held at its end. */
export async function traceOf(seed: number): Promise<readonly string[]> {
  return (await play(seed)).trace;
}

async function play(seed: number): Promise<{ reason: string | undefined; trace: readonly string[] }> {
  const world = new World(seed);
  let reason: string | undefined;
  try {
    reason = await world.run();
  } catch (error) {
    reason = error instanceof Error ? error.stack ?? error.message : String(error);
  } finally {
    for (const log of world.server.logs) {
      world.note(`stream: ${log.map((m) => `${m.sequence} ${m.storedAt}`).join(", ")}`);
    }
    world.end();
  }
  return { reason, trace: world.trace };
}
