/**
 * A soak: three nodes, each behind a proxy of its own, applications that write on all three, and faults of every kind on
 * nodes, broker, connections and locks. In rounds: faults strike, all is healed, the nodes converge, and what they hold
 * is compared byte for byte and with what the applications know to have committed.
 */
import { setTimeout as delay } from "node:timers/promises";
import { dumpTables } from "../../../scripts/table_dump.ts";
import { Random } from "../../simulation/random.ts";
import { Cluster, type ClusterNode } from "../cluster.ts";
import { FaultProxy } from "../fault_proxy.ts";
import { NatsServer } from "../nats_server.ts";
import {
  type FaultCounts,
  type Lane,
  lockLane,
  nodeLane,
  proxyLane,
  runLane,
  serverLane,
} from "./fault_lanes.ts";
import { SOAK_SCHEMA, SoakWriter } from "./soak_writer.ts";

const NODES = 3;
const LONGEST_ROUND_SECONDS = 20;
/** The writers' largest rows must go in parts. */
const MAX_PAYLOAD_BYTES = 64 * 1024;
const CONVERGE_TIMEOUT_MS = 90_000;
const POLL_MS = 50;
/** Of what is unsound, so many are told, and so much of a row. */
const TOLD = 15;
const TOLD_CHARACTERS = 200;

export interface SoakOptions {
  /** How long faults are injected, in all rounds together. */
  readonly seconds: number;
  readonly seed: number;
  /** Whether the broker also loses what it has acknowledged; false when left out. */
  readonly brokerLosesData?: boolean;
  /** Further flags of all nodes. */
  readonly flags?: readonly string[];
  /** Told what happens; nothing unless given. */
  readonly say?: (text: string) => void;
}

export interface SoakReport {
  readonly seed: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly transactions: number;
  readonly writes: number;
  readonly faults: FaultCounts;
  readonly longestConvergenceMs: number;
  /** What must not be, in words; empty when nothing was lost, differs or is left over. */
  readonly lost: readonly string[];
  readonly differing: readonly string[];
  readonly leftOver: readonly string[];
}

/** Runs a soak and reports. Throws where a process ended by itself or an application's statement failed. */
export async function runSoak(options: SoakOptions): Promise<SoakReport> {
  const { seconds, seed, say = () => {} } = options;
  await using world = await SoakWorld.start(options);
  const rounds = Math.max(1, Math.ceil(seconds / LONGEST_ROUND_SECONDS));
  let longestConvergenceMs = 0;
  for (let round = 1; round <= rounds; round++) {
    await world.runFaults((seconds * 1000) / rounds);
    const convergenceMs = await world.converge();
    longestConvergenceMs = Math.max(longestConvergenceMs, convergenceMs);
    say(
      `round ${round} of ${rounds}: ${world.transactions} transactions so far, converged in ${convergenceMs} ms`,
    );
    if (world.findUnsound().length > 0) break;
  }
  const { transactions, writes, faults } = world;
  return {
    ...{ seed, seconds, rounds, transactions, writes, faults, longestConvergenceMs },
    ...{ lost: world.findLosses(), differing: world.findDifferingRows(), leftOver: world.findLeftOver() },
  };
}

/** The figures as people read them; what is unsound is told row by row. */
export function describeSoak(report: SoakReport): string {
  const { seed, seconds, rounds, transactions, writes, faults, lost, differing, leftOver } = report;
  const injected = [...faults.values()].reduce((sum, count) => sum + count, 0);
  return [
    `soak of ${NODES} nodes: ${seconds} s of faults in ${rounds} rounds, seed ${seed}`,
    `writes offered    ${writes} in ${transactions} transactions`,
    `faults injected   ${injected}`,
    ...[...faults].sort().map(([kind, count]) => `  ${String(count).padStart(4)} ${kind}`),
    `lost              ${lost.length}`,
    `differing rows    ${differing.length}`,
    `left over         ${leftOver.length} (pending, parked, quarantined, hidden)`,
    `longest time to converge after heal  ${(report.longestConvergenceMs / 1000).toFixed(1)} s`,
    ...[...lost, ...differing, ...leftOver].slice(0, TOLD).map((text) => `! ${text}`),
  ].join("\n");
}

export function isSound({ lost, differing, leftOver }: SoakReport): boolean {
  return lost.length + differing.length + leftOver.length === 0;
}

class SoakWorld implements AsyncDisposable {
  readonly faults: FaultCounts = new Map();
  readonly #cleanup: AsyncDisposableStack;
  readonly #cluster: Cluster;
  readonly #writers: readonly SoakWriter[];
  readonly #lanes: readonly { lane: Lane; random: Random }[];

  private constructor(
    cleanup: AsyncDisposableStack,
    parts: { cluster: Cluster; lanes: Lane[]; seed: number },
  ) {
    this.#cleanup = cleanup;
    this.#cluster = parts.cluster;
    const seeds = new Random(parts.seed);
    const next = () => new Random(seeds.below(2 ** 32));
    this.#lanes = parts.lanes.map((lane) => ({ lane, random: next() }));
    this.#writers = parts.cluster.nodes.map(({ path, id }) =>
      new SoakWriter(path, { number: id, random: next() })
    );
    for (const writer of this.#writers) cleanup.defer(() => writer.close());
  }

  static async start({ seed, brokerLosesData = false, flags = [] }: SoakOptions): Promise<SoakWorld> {
    await using cleanup = new AsyncDisposableStack();
    const server = cleanup.use(await NatsServer.start({ maxPayloadBytes: MAX_PAYLOAD_BYTES }));
    const random = new Random(seed);
    const proxies: FaultProxy[] = [];
    for (let i = 0; i < NODES; i++) {
      proxies.push(cleanup.use(await FaultProxy.start({ target: () => server.port, random })));
    }
    const natsUrl = (id: number) => `nats://127.0.0.1:${proxies[id - 1]?.port}`;
    const cluster = cleanup.use(await Cluster.start({ nodes: NODES, schema: SOAK_SCHEMA, natsUrl, flags }));
    const lanes = [
      serverLane(server, { losesData: brokerLosesData, folder: cluster.folder }),
      ...cluster.nodes.flatMap((node) => [nodeLane(node), lockLane(node)]),
      ...proxies.map((proxy, i) => proxyLane(`connection ${i + 1}`, proxy)),
    ];
    return new SoakWorld(cleanup.move(), { cluster, lanes, seed });
  }

  get transactions(): number {
    return this.#writers.reduce((sum, writer) => sum + writer.committed, 0);
  }

  get writes(): number {
    return this.#writers.reduce((sum, writer) => sum + writer.writes, 0);
  }

  /** Lets the applications write and the faults strike for so long; then the writing ends and all is healed. */
  async runFaults(milliseconds: number): Promise<void> {
    const end = new AbortController();
    for (const writer of this.#writers) writer.start();
    const running = this.#lanes.map(({ lane, random }) =>
      runLane(lane, { random, counts: this.faults, signal: end.signal })
    );
    // A lane that fails ends the round: the target it tells of is gone.
    await Promise.race([delay(milliseconds, undefined, { signal: end.signal }), ...running]).catch(() => {});
    end.abort();
    const ended = await Promise.allSettled([...running, ...this.#writers.map((writer) => writer.stop())]);
    for (const result of ended) if (result.status === "rejected") throw result.reason;
  }

  /** Waits until nothing is left to do, or for as long as one may wait, and returns the milliseconds it took. */
  async converge(): Promise<number> {
    const beganAt = performance.now();
    while (performance.now() - beganAt < CONVERGE_TIMEOUT_MS) {
      for (const node of this.#cluster.nodes) this.#assertRunning(node);
      if (this.#cluster.findDifference() === undefined) break;
      await delay(POLL_MS);
    }
    return Math.round(performance.now() - beganAt);
  }

  findUnsound(): string[] {
    return [...this.findLosses(), ...this.findDifferingRows(), ...this.findLeftOver()];
  }

  findLosses(): string[] {
    return this.#cluster.nodes.flatMap(({ id, application }) =>
      this.#writers.flatMap((writer) => writer.findLosses(application)).map((loss) => `node ${id}: ${loss}`)
    );
  }

  findDifferingRows(): string[] {
    const [first, ...others] = this.#cluster.nodes.map(({ application }) => dumpTables(application));
    const differing: string[] = [];
    for (const [table, content] of first ?? []) {
      const rows = new Set(content.split("\n"));
      for (const [i, other] of others.entries()) {
        const theirs = new Set((other.get(table) ?? "").split("\n"));
        const unequal = [...rows].filter((row) => !theirs.has(row)).concat(
          [...theirs].filter((row) => !rows.has(row)),
        );
        differing.push(
          ...unequal.map((row) =>
            `table ${table}: nodes 1 and ${i + 2} differ in ${row.slice(0, TOLD_CHARACTERS)}`
          ),
        );
      }
    }
    return differing;
  }

  findLeftOver(): string[] {
    return this.#cluster.nodes.flatMap((node) => {
      const counts = ["parked", "quarantine", "hidden", "part"].map((name) => ({
        name,
        count: countState(node, name),
      }));
      const left = [{ name: "pending", count: node.countPending() }, ...counts].filter(({ count }) =>
        count > 0
      );
      const checked = String(node.application.prepare("PRAGMA integrity_check").get()?.["integrity_check"]);
      const found = left.map(({ name, count }) => `node ${node.id}: ${count} ${name}`);
      return checked === "ok" ? found : [...found, `node ${node.id}: integrity_check says ${checked}`];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }

  #assertRunning(node: ClusterNode): void {
    if (!node.isRunning) throw new Error(`node ${node.id} ended by itself:\n${node.log.slice(-3000)}`);
  }
}

function countState(node: ClusterNode, name: string): number {
  return Number(node.application.prepare(`SELECT count(*) AS n FROM "__marmot__${name}"`).get()?.["n"]);
}
