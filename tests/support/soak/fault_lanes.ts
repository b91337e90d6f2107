/**
 * The faults of a soak. Each target has a lane of its own that draws one fault after the other from its own seed:
 * faults of several targets overlap, one target has one at a time. What a lane draws depends on the seed alone; when it
 * strikes depends on the machine as well.
 */
import { DatabaseSync } from "node:sqlite";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Random } from "../../simulation/random.ts";
import type { ClusterNode } from "../cluster.ts";
import type { Direction, FaultProxy } from "../fault_proxy.ts";
import type { LinkFault } from "../faulty_pipe.ts";
import type { NatsServer } from "../nats_server.ts";

/** Milliseconds, drawn between the two. */
type Span = readonly [least: number, most: number];

/** What a fault does: it strikes, lasts as long as was drawn or until all is healed, and is taken back. */
interface Fault {
  readonly kind: string;
  readonly lasting: Span;
  strike(): void | Promise<void>;
  heal(): void | Promise<void>;
}

export interface Lane {
  readonly name: string;
  /** Between two faults. */
  readonly quiet: Span;
  draw(random: Random): Fault;
}

/** Faults that were injected, by kind. */
export type FaultCounts = Map<string, number>;

export interface LaneRun {
  readonly random: Random;
  readonly counts: FaultCounts;
  /** Ends the lane; the fault of this moment is healed first. */
  readonly signal: AbortSignal;
}

/** Strikes and heals until the signal aborts. Throws what a fault threw, such as a target that ended by itself. */
export async function runLane(lane: Lane, { random, counts, signal }: LaneRun): Promise<void> {
  const last = ([least, most]: Span) =>
    delay(least + random.below(most - least), undefined, { signal }).catch(() => {});
  while (!signal.aborted) {
    await last(lane.quiet);
    const fault = lane.draw(random);
    if (signal.aborted) return;
    counts.set(fault.kind, (counts.get(fault.kind) ?? 0) + 1);
    await fault.strike();
    try {
      await last(fault.lasting);
    } finally {
      await fault.heal();
    }
  }
}

export function nodeLane(node: ClusterNode): Lane {
  const assertRunning = () => {
    if (!node.isRunning) throw new Error(`node ${node.id} ended by itself:\n${node.log.slice(-3000)}`);
  };
  return {
    name: `node ${node.id}`,
    quiet: [1_500, 7_000],
    draw: (random) =>
      random.chance(0.6)
        ? {
          kind: "node killed (SIGKILL) and started again",
          lasting: [0, 1_500],
          strike: async () => {
            assertRunning();
            await node.kill();
          },
          heal: () => node.start({ isAwaited: false }),
        }
        : {
          kind: "node halted (SIGSTOP)",
          lasting: [200, 4_000],
          strike: () => {
            assertRunning();
            node.pause();
          },
          heal: () => node.resume(),
        },
  };
}

export interface ServerLaneOptions {
  /** Also takes back what the server has acknowledged of late, as a power cut does. */
  readonly losesData: boolean;
  /** For copies of the store. */
  readonly folder: string;
}

export function serverLane(server: NatsServer, { losesData, folder }: ServerLaneOptions): Lane {
  const copy = join(folder, "older store");
  const cutPower: Fault = {
    kind: "nats-server killed and started again without what it stored last",
    lasting: [100, 2_000],
    strike: async () => {
      await server.pause();
      await rm(copy, { recursive: true, force: true });
      await server.copyStore(copy);
      server.resume();
    },
    heal: async () => {
      await server.kill();
      await server.restoreStore(copy);
      await server.restart();
    },
  };
  return {
    name: "nats-server",
    quiet: [3_000, 9_000],
    draw: (random) =>
      random.pick<Fault>([
        ...(losesData ? [cutPower, cutPower, cutPower] : []),
        {
          kind: "nats-server killed (SIGKILL) and started again",
          lasting: [0, 2_000],
          strike: () => server.kill(),
          heal: () => server.restart(),
        },
        {
          kind: "nats-server stopped (SIGTERM) and started again",
          lasting: [0, 2_000],
          strike: () => server.stop(),
          heal: () => server.restart(),
        },
        {
          kind: "nats-server halted (SIGSTOP)",
          lasting: [200, 3_000],
          strike: () => server.pause(),
          heal: () => server.resume(),
        },
      ]),
  };
}

const SIDES: readonly (readonly Direction[])[] = [["up"], ["down"], ["up", "down"]];

export function proxyLane(name: string, proxy: FaultProxy): Lane {
  const onLink = (
    kind: string,
    lasting: Span,
    fault: Partial<LinkFault>,
    sides?: readonly Direction[],
  ): Fault => ({
    kind: `connection ${kind}`,
    lasting,
    strike: () => proxy.setFault(fault, sides),
    heal: () => proxy.heal(),
  });
  const atOnce = (kind: string, strike: () => void): Fault => ({
    kind: `connection ${kind}`,
    lasting: [0, 1],
    strike,
    heal: () => {},
  });
  return {
    name,
    quiet: [500, 5_000],
    draw: (random) =>
      random.pick([
        () => atOnce("cut", () => proxy.cut()),
        () => atOnce("reset", () => proxy.reset()),
        () => onLink("delayed", [500, 4_000], { delayMs: 20 + random.below(400) }),
        () => onLink("throttled", [500, 4_000], { bytesPerSecond: 2_000 + random.below(50_000) }),
        // Longer than Marmot waits for an answer: what it gave up comes late.
        () => onLink("held back", [300, 8_000], { mode: "hold" }, random.pick(SIDES)),
        () => onLink("half open", [300, 8_000], { mode: "swallow" }, random.pick(SIDES)),
        // What was sent on the lost connection comes behind what is sent on the next one.
        (): Fault => ({
          kind: "connection lost, its bytes late",
          lasting: [100, 6_000],
          strike: async () => {
            for (const connection of proxy.connections) connection.setFault({ mode: "hold" }, ["up"]);
            await delay(50 + random.below(500));
            proxy.orphan();
          },
          heal: () => proxy.heal(),
        }),
        (): Fault => ({
          kind: "connection refused",
          lasting: [300, 3_000],
          strike: () => {
            proxy.isRefusing = true;
            proxy.reset();
          },
          heal: () => proxy.heal(),
        }),
      ])(),
  };
}

/** An application that keeps the write lock of a node's database. */
export function lockLane(node: ClusterNode): Lane {
  let holder: DatabaseSync | undefined;
  return {
    name: `lock ${node.id}`,
    quiet: [3_000, 10_000],
    draw: () => ({
      kind: "write lock held by an application",
      lasting: [300, 2_500],
      strike: async () => {
        holder = new DatabaseSync(node.path, { timeout: 0 });
        for (let tries = 0; tries < 500 && !holder.isTransaction; tries++) {
          try {
            holder.exec("BEGIN IMMEDIATE");
          } catch {
            await delay(2);
          }
        }
      },
      heal: () => {
        if (holder?.isTransaction) holder.exec("ROLLBACK");
        holder?.close();
      },
    }),
  };
}
