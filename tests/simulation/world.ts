/** Plays a plan: makes the nodes, takes the steps, heals everything, and looks after each step whether all that must hold holds. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Checker, type Problem } from "./checker.ts";
import { Ledger } from "./ledger.ts";
import { ColdNodes } from "./cold_nodes.ts";
import { HEALTHY, MemoryServer } from "./memory_server.ts";
import { MemorySnapshots } from "./memory_snapshots.ts";
import { describeMessage } from "./narration.ts";
import { COPY, JOINER, LAST, type Plan, type Step, SUCCESSOR } from "./plan.ts";
import { Random } from "./random.ts";
import { type NodeParts, schemaOf, SimulatedNode, type Surroundings } from "./simulated_node.ts";
import { VirtualTime } from "./virtual_time.ts";

const HEAL_MS = 60_000;
const HEAL_LOOK_MS = 250;
/** A clock must have moved before an older file comes back: the run of a process is its moment. */
const RESTORE_MS = 50;

export class World implements Surroundings {
  readonly time = new VirtualTime();
  readonly random: Random;
  readonly server: MemoryServer;
  readonly nodes: SimulatedNode[] = [];
  readonly idleLookMs: number;
  readonly ledger: Ledger;
  readonly saves: Surroundings["saves"];
  readonly #coldNodes: ColdNodes | undefined;
  readonly #plan: Plan;
  readonly #checker: Checker;
  readonly #folder: string;
  readonly #oracles: DatabaseSync[] = [];
  readonly #beganMs: number;
  readonly #trace: string[] | undefined;
  /** In mode "turns": who writes now. */
  #writer: SimulatedNode | undefined;

  /** `trace` takes what happens, in words. */
  constructor(plan: Plan, trace?: string[]) {
    this.#plan = plan;
    this.#trace = trace;
    this.#beganMs = this.time.nowMs;
    this.random = new Random(plan.seed * 2 + 1);
    this.idleLookMs = plan.idleLookMs;
    this.server = new MemoryServer(plan.shards, this.time, new Random(plan.seed * 2), {
      maxMessages: plan.maxMessages ?? Infinity,
      maxPayloadBytes: plan.maxPayloadBytes,
    });
    this.ledger = new Ledger(plan.tables);
    this.server.onMessage = (message) => {
      this.#trace?.push(`${this.#now()}     ${describeMessage(message)}`);
      this.ledger.noteStored(message);
    };
    const memory = "/dev/shm";
    this.#folder = mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), "marmot-simulation-"));
    for (const id of plan.nodes) this.nodes.push(new SimulatedNode(id, this.#partsOf(id)));
    if (plan.saves) {
      const snapshots = new MemorySnapshots(this.time);
      this.saves = { ...plan.saves, snapshots };
      const { time, server, random, idleLookMs, saves, say, nodes, ledger } = this;
      this.#coldNodes = new ColdNodes({
        ...{ time, server, random, idleLookMs, saves, say, nodes, ledger, snapshots },
        partsOf: (id) => this.#partsOf(id),
      });
    }
    this.#writer = this.nodes[0];
    const { nodes, server, ledger } = this;
    this.#checker = new Checker({
      plan,
      nodes,
      server,
      ledger,
      coldNodes: this.#coldNodes,
      writer: () => this.#writer ? [this.#writer] : [],
    });
  }

  async run(): Promise<Problem | undefined> {
    const { nodes, mode, shards, tables, network } = this.#plan;
    this.#note(
      `mode ${mode}, nodes ${nodes.join(", ")}, ${shards} shards, network ${JSON.stringify(network)}`,
    );
    for (const { sql, extras } of tables) this.#note(extras ? `${sql}; ${extras}` : sql);
    for (const node of this.nodes) node.start(this);
    await this.time.pass(20);
    this.server.network = network;
    for (const step of this.#plan.steps) {
      await this.#take(step);
      await this.time.pass(step.pauseMs);
      const problem = this.#checker.findProblem();
      if (problem) return problem;
    }
    this.#note("everything heals");
    return await this.#heal();
  }

  end(): void {
    for (const node of this.nodes) node.end();
    this.#coldNodes?.end();
    for (const oracle of this.#oracles) if (oracle.isOpen) oracle.close();
    this.#checker.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Takes what a node says. */
  readonly say = (node: number, text: string): void => this.#note(`node ${node} ${text}`);

  #partsOf(id: number): NodeParts {
    const { tables, distances } = this.#plan;
    return {
      folder: this.#folder,
      schema: schemaOf(tables),
      tables,
      oracle: this.#oracle(),
      distance: distances[id - 1] ?? 1,
    };
  }

  #oracle(): DatabaseSync | undefined {
    const ownership = this.#plan.ownership;
    if (ownership === "any") return undefined;
    const shared = ownership === "turns" ? this.#oracles[0] : undefined;
    if (shared) return shared;
    const oracle = new DatabaseSync(":memory:");
    oracle.exec(schemaOf(this.#plan.tables));
    this.#oracles.push(oracle);
    return oracle;
  }

  #now(): string {
    return (this.time.nowMs - this.#beganMs).toString().padStart(6);
  }

  #note(text: string): void {
    this.#trace?.push(`${this.#now()} ${text}`);
  }

  async #take(step: Step): Promise<void> {
    if (step.kind === "write" || step.kind === "write without capture") return this.#write(step);
    if (step.kind === "wait") return;
    if (step.kind === "start") return this.#startDead();
    if (step.kind === "reconnect") return this.#reconnect();
    if (step.kind === "resume") return this.#resume();
    if (step.kind === "join") return this.#join(JOINER);
    if (step.kind === "spoil") return this.#spoil();
    const cold = this.#coldNodes?.find(step.node);
    if (cold && step.kind === "crash") cold.crash();
    if (cold?.streams && step.kind === "cut off") cold.streams.isCutOff = true;
    const node = this.nodes.find(({ id }) => id === step.node);
    if (!node) return;
    const said = step.kind === "restore" ? await this.#restore(node) : this.#strike(node, step);
    if (said !== undefined) this.#note(`node ${node.id} ${said}`);
  }

  /** What befalls one node, in words; undefined where it cannot. */
  #strike(node: SimulatedNode, step: Step): string | undefined {
    const { streams } = node;
    switch (step.kind) {
      case "lock":
        if (node.isLocked) node.release();
        else node.hold();
        return `its application ${node.isLocked ? "holds" : "releases"} the write lock`;
      case "alter":
        return this.#alter(node, step.change);
      case "copy":
        if (node.isLocked) return undefined;
        node.copy();
        return "has its file copied";
      case "start copy":
        return this.#startCopy(node);
      case "lose":
        return this.#lose(node, step.isAnew ? SUCCESSOR : node.id);
      case "make anew":
      case "roll back":
        return this.#harmStream(step);
      default:
        return node.isAlive && streams ? this.#strikeLife(node, step) : undefined;
    }
  }

  /** The same where the node must be running. */
  #strikeLife(node: SimulatedNode, step: Step): string | undefined {
    const { streams } = node;
    if (!streams) return undefined;
    switch (step.kind) {
      case "crash":
        node.crash();
        return "crashes";
      case "crash inside":
        node.crashInside(step.at);
        return `will crash in a transaction at ${step.at}`;
      case "crash looking":
        node.crashInside("clock");
        return "will crash where it looks at its clock";
      case "crash publishing":
        streams.crashAfter = step.after;
        return `will crash when it has sent ${step.after} messages`;
      case "busy":
        node.makeBusy(step.at);
        return `will find its database locked at ${step.at} of a transaction`;
      case "cut off":
        streams.isCutOff = true;
        streams.interrupt();
        return "is cut off";
      case "mute":
        streams.isMute = true;
        return "comes through with nothing that it publishes";
      case "stall":
        streams.isStalled = true;
        return "is not delivered anything";
      case "hold":
        streams.holdsNext = true;
        return "will have its next message kept back until another comes";
      case "save":
        node.saving?.save();
        return "begins to save a snapshot";
      case "give up":
        node.saving?.giveUp();
        return "is told to save no snapshot";
      case "double":
        streams.doublesNext = true;
        return "will have its next message stored twice";
      default:
        return undefined;
    }
  }

  #write({ node: id, kind, statements }: Extract<Step, { statements: unknown }>): void {
    const node = this.#whoWrites(id);
    if (!node || node.isLocked) return;
    if (kind === "write") this.ledger.noteTouches(node.id, node.write(statements));
    else node.writeWithoutCapture(statements);
    this.#note(`node ${node.id} ${kind.replace("write", "writes")} ${statements.join("; ")}`);
  }

  /** The node that a writing step means: by mode it may be another. */
  #whoWrites(id: number): SimulatedNode | undefined {
    const node = this.nodes.find((candidate) => candidate.id === id);
    const ownership = this.#plan.ownership;
    if (ownership === "sole") return this.nodes[0];
    if (ownership === "turns") {
      if (node && this.#mayTakeTurn(node)) this.#writer = node;
      return this.#writer;
    }
    return node;
  }

  /** Whether a node has read all that the others wrote, so that what it writes is informed. */
  #mayTakeTurn(node: SimulatedNode): boolean {
    for (let shard = 1; shard <= this.server.shards; shard++) {
      if (node.cursor(shard) !== this.server.lastSequence(shard)) return false;
    }
    return this.nodes.every((other) => other === node || this.ledger.isCovered(other.id));
  }

  #startDead(): void {
    for (const node of this.nodes) {
      node.bury();
      if (node.isAlive || node.isLocked) continue;
      node.start(this);
      this.#note(`node ${node.id} starts`);
    }
    this.#coldNodes?.startDead();
  }

  #reconnect(): void {
    for (const { streams } of this.nodes) {
      if (!streams) continue;
      streams.isCutOff = false;
      streams.isMute = false;
      streams.interrupt();
    }
    this.#coldNodes?.reconnect();
    this.#note("connections are back");
  }

  #resume(): void {
    for (const { streams } of this.nodes) {
      if (!streams) continue;
      streams.isStalled = false;
      streams.wakeReaders();
    }
    this.#note("all nodes are delivered again");
  }

  #alter(node: SimulatedNode, change: number): string | undefined {
    const sql = this.#plan.changes[change]?.sql.replaceAll(":node", String(node.id));
    if (node.isLocked || sql === undefined) return undefined;
    this.ledger.noteTouches(node.id, node.alter(sql));
    return `changes its schema: ${sql}`;
  }

  #startCopy(node: SimulatedNode): string | undefined {
    if (node.isLocked || this.nodes.some(({ id }) => id === COPY)) return undefined;
    const copy = new SimulatedNode(COPY, node.parts, { copy: node.copy() });
    this.nodes.push(copy);
    copy.start(this);
    return `is copied, and the copy starts as node ${COPY}`;
  }

  async #restore(node: SimulatedNode): Promise<string | undefined> {
    const copy = node.copies.at(-1);
    if (node.isLocked || copy === undefined) return undefined;
    node.crash();
    await this.time.pass(RESTORE_MS);
    node.restore(copy);
    return "crashes, and an older copy of its file comes back";
  }

  #join(id: number): void {
    if (this.#coldNodes?.join(id)) this.#note(`node ${id} begins without a database`);
  }

  #spoil(): void {
    if (this.saves?.snapshots.spoilNewest()) this.#note("a bit of the newest snapshot turns over");
  }

  #lose(node: SimulatedNode, id: number): string | undefined {
    const isTaken = id !== node.id &&
      (this.nodes.some((other) => other.id === id) || this.#coldNodes?.find(id));
    if (!this.#coldNodes || node.isLocked || isTaken || this.nodes.length === 1) return undefined;
    this.#coldNodes.lose(node, id);
    return `loses its file, and begins without one as node ${id}`;
  }

  #harmStream(step: Step & { by: number }): string {
    const shard = 1 + step.node % this.server.shards;
    if (step.kind === "make anew") this.server.makeAnew(shard);
    else this.server.rollBack(shard, step.by);
    for (const { streams } of this.nodes) streams?.interrupt();
    return step.kind === "make anew"
      ? `sees stream ${shard} deleted and made anew`
      : `sees the last ${step.by} messages of stream ${shard} lost`;
  }

  async #heal(): Promise<Problem | undefined> {
    this.server.network = HEALTHY;
    this.server.release();
    this.#resume();
    // In half of the histories all connections begin anew, as when a broker restarts. That mends more than the network.
    const isBrokerNew = this.#plan.seed % 2 === 1;
    for (const node of this.nodes) {
      node.release();
      node.disarm();
      this.#plan.changes.forEach((_, change) => this.#alter(node, change));
      if (!node.streams) continue;
      if (isBrokerNew || node.streams.isCutOff) node.streams.interrupt();
      node.streams.isCutOff = false;
      node.streams.isMute = false;
      node.streams.crashAfter = Infinity;
      node.streams.holdsNext = false;
    }
    this.#coldNodes?.reconnect();
    let unrest: string | undefined;
    for (let passedMs = 0; passedMs < HEAL_MS; passedMs += HEAL_LOOK_MS) {
      for (const node of this.nodes) {
        node.bury();
        if (!node.isAlive) node.start(this);
      }
      await this.time.pass(HEAL_LOOK_MS);
      unrest = this.server.late > 0 ? "late messages" : this.#findUnrest() ?? this.#comeUp();
      const problem = this.#checker.findProblem();
      if (problem) return problem;
      if (unrest === undefined) return this.#checker.findDifference();
    }
    return { check: "rest", reason: `no rest after ${HEAL_MS} ms: ${unrest}` };
  }

  /**
   * To be called when all nodes are at rest: those that were left behind take a snapshot, and so does one node more. Why
   * some are not up, in words; undefined where all are, or where nobody is left who could save one.
   */
  #comeUp(): string | undefined {
    const cold = this.#coldNodes;
    if (!cold) return undefined;
    const behind = this.nodes.filter((node) => node.isLeftBehind(this.server));
    const savers = this.nodes.filter((node) => !behind.includes(node));
    if (savers.length > 0) this.#join(LAST);
    if ((cold.isEmpty && behind.length === 0) || savers.length === 0) return undefined;
    savers[this.#plan.seed % savers.length]?.saving?.saveUnlessSaving();
    cold.startDead();
    return `node ${cold.names} not up, node ${behind.map(({ id }) => id).join(", ")} left behind`;
  }

  #findUnrest(): string | undefined {
    for (const node of this.nodes) {
      const unrest = node.unrest(this.server);
      if (unrest !== undefined) return `node ${node.id}: ${unrest}`;
    }
    return undefined;
  }
}
