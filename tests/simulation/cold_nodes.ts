/** The nodes of a history that have no database yet, or none any more: they come up from snapshots. */
import { rmSync } from "node:fs";
import type { Problem } from "./checker.ts";
import { ColdNode } from "./cold_node.ts";
import type { Ledger } from "./ledger.ts";
import { type NodeParts, SimulatedNode, type Surroundings } from "./simulated_node.ts";
import type { MemorySnapshots } from "./memory_snapshots.ts";

export interface ColdNodesParts extends Surroundings {
  readonly snapshots: MemorySnapshots;
  readonly ledger: Ledger;
  /** Those that have a database; a node that has come up is put there. */
  readonly nodes: SimulatedNode[];
  readonly partsOf: (id: number) => NodeParts;
  readonly say: (node: number, text: string) => void;
}

export class ColdNodes {
  readonly #parts: ColdNodesParts;
  readonly #waiting = new Map<number, ColdNode>();
  /** Nodes whose file was lost: under their id another change log begins. */
  readonly #lost = new Set<number>();
  #problem: Problem | undefined;

  constructor(parts: ColdNodesParts) {
    this.#parts = parts;
  }

  get isEmpty(): boolean {
    return this.#waiting.size === 0;
  }

  /** Ids of the nodes that wait for a snapshot, in words. */
  get names(): string {
    return [...this.#waiting.keys()].join(", ");
  }

  /** What must not happen to a node that comes up. */
  findProblem(): Problem | undefined {
    for (const { id, failure } of this.#waiting.values()) {
      if (failure === undefined) continue;
      const text = failure instanceof Error ? failure.stack : String(failure);
      return { check: "end", reason: `node ${id}, without a database, ended: ${text}` };
    }
    return this.#problem;
  }

  /** The node without a database, undefined where it has one or is not there. */
  find(id: number): ColdNode | undefined {
    return this.#waiting.get(id);
  }

  /** A new node begins without a database; false where there is one of this id. */
  join(id: number): boolean {
    const { nodes, partsOf, say, ...surroundings } = this.#parts;
    if (this.#waiting.has(id) || nodes.some((node) => node.id === id)) return false;
    const { folder, distance = 1 } = partsOf(id);
    const cold = new ColdNode(id, {
      ...surroundings,
      folder,
      distance,
      say: (text) => say(id, text),
      onArrived: (object) => this.#admit(cold, object),
    });
    this.#waiting.set(id, cold);
    cold.start();
    return true;
  }

  /** The file of a node is lost while it runs; the node begins without one, under an id that may be another. */
  lose(node: SimulatedNode, id: number): void {
    const { nodes, ledger } = this.#parts;
    node.end();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${node.path}${suffix}`, { force: true });
    nodes.splice(nodes.indexOf(node), 1);
    // From now on; what it had published before covers nothing of what will be captured.
    ledger.beginAnew(node.id, Infinity);
    this.#lost.add(node.id);
    this.join(id);
  }

  /** Starts those whose process has ended. */
  startDead(): void {
    for (const cold of this.#waiting.values()) if (!cold.isAlive) cold.start();
  }

  /** Connections are back. */
  reconnect(): void {
    for (const { streams } of this.#waiting.values()) if (streams) streams.isCutOff = false;
  }

  end(): void {
    for (const cold of this.#waiting.values()) cold.crash();
  }

  #admit(cold: ColdNode, object: string): void {
    const { nodes, partsOf, snapshots, server, ledger, say } = this.#parts;
    const { id, firstSequences } = cold;
    this.#waiting.delete(id);
    const isLost = this.#lost.has(id);
    const { oracle, ...others } = partsOf(id);
    // What the lost file had and nobody has read is lost: plain SQLite tells nothing of this node any more.
    const node = new SimulatedNode(id, { ...others, oracle: isLost ? undefined : oracle }, "in place");
    node.exactFrom = snapshots.exactFrom.get(object) ?? [];
    nodes.push(node);
    node.start(this.#parts);
    if (isLost) ledger.beginAnew(id, node.run);
    const at = Array.from({ length: server.shards }, (_, i) => node.cursor(i + 1));
    say(id, `has a database: a snapshot of ${at.join("/")}, exact from ${node.exactFrom.join("/")} on`);
    const tooOld = at.findIndex((cursor, i) => cursor + 1 < (firstSequences[i] ?? 0));
    if (tooOld === -1) return;
    this.#problem ??= {
      check: "P3",
      reason: `node ${id} has come up at ${at[tooOld]} of stream ${tooOld + 1}, which had begun at ${
        firstSequences[tooOld]
      } before`,
    };
  }
}
