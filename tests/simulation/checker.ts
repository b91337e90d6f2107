/** What must hold: at every step, and at the end, when everything has healed. */
import type { DatabaseSync } from "node:sqlite";
import { DatabaseReader } from "./database_reader.ts";
import type { ColdNodes } from "./cold_nodes.ts";
import { findJournalProblem } from "./journal.ts";
import type { Ledger } from "./ledger.ts";
import { Meaning } from "./meaning.ts";
import type { MemoryServer } from "./memory_server.ts";
import type { Ownership, Plan } from "./plan.ts";
import type { SimulatedNode } from "./simulated_node.ts";
import { isSameRows } from "./stream_reading.ts";
import { START_MS } from "./virtual_time.ts";

/** What did not hold: which check, and what was seen. */
export interface Problem {
  readonly check: "P1" | "P2" | "P3" | "P4" | "rest" | "end" | "error";
  readonly reason: string;
}

interface CheckerParts {
  readonly plan: Plan;
  readonly nodes: readonly SimulatedNode[];
  readonly server: MemoryServer;
  readonly ledger: Ledger;
  /** Nodes without a database, where a history has such. */
  readonly coldNodes: ColdNodes | undefined;
  /** Who writes now, where one node writes alone. */
  readonly writer: () => SimulatedNode[];
}

export class Checker {
  readonly #parts: CheckerParts;
  readonly #ownership: Ownership;
  /** What the streams mean up to each node's cursors. */
  readonly #meanings = new Map<SimulatedNode, Meaning>();
  readonly #oracles = new Map<DatabaseSync, DatabaseReader>();
  /** What was looked at last: what is still the same holds still. */
  readonly #seen = new Map<SimulatedNode, string>();
  /**
   * Whether a node's file or a stream may go back, so that log ids and sequences come twice, or rows change that nobody
   * captured: then the ledger and the meaning of the streams do not tell.
   */
  readonly #isUntold: boolean;

  constructor(parts: CheckerParts) {
    this.#parts = parts;
    this.#ownership = parts.plan.ownership;
    this.#isUntold = ["files", "unsafe broker", "window"].includes(parts.plan.mode);
  }

  close(): void {
    for (const meaning of this.#meanings.values()) meaning.close();
  }

  /** What must hold at every step. */
  findProblem(): Problem | undefined {
    const { nodes, ledger, coldNodes } = this.#parts;
    const cold = coldNodes?.findProblem();
    if (cold) return cold;
    for (const node of nodes) {
      const { failure } = node;
      if (failure !== undefined) {
        const text = failure instanceof Error ? failure.stack : String(failure);
        return { check: "end", reason: `node ${node.id} ended: ${text}` };
      }
      node.bury();
    }
    if (!this.#isUntold && ledger.problem !== undefined) return { check: "P2", reason: ledger.problem };
    for (const node of nodes) {
      const version = `${node.version} ${this.#writers().includes(node)}`;
      if (this.#seen.get(node) === version) continue;
      this.#seen.set(node, version);
      const overwritten = this.#findOverwritten(node);
      if (overwritten !== undefined) return { check: "P4", reason: overwritten };
      const skipped = this.#isUntold ? undefined : this.#findSkipped(node);
      if (skipped !== undefined) return { check: "P3", reason: skipped };
    }
    return undefined;
  }

  /** What must hold when everything is at rest. */
  findDifference(): Problem | undefined {
    const { nodes, ledger, server, plan } = this.#parts;
    const resting = nodes.filter((node) => !node.isLeftBehind(server));
    const difference = findUnequal(resting);
    if (difference !== undefined) return { check: "P1", reason: difference };
    for (const node of resting) {
      const leftovers = node.findLeftovers();
      if (leftovers !== undefined) {
        return { check: "rest", reason: `node ${node.id} at rest has ${leftovers}` };
      }
    }
    const lost = this.#findLost(resting);
    if (lost !== undefined) return { check: "P2", reason: lost };
    if (this.#isUntold) return undefined;
    const uncovered = ledger.findLost(resting.map(({ id }) => id));
    if (uncovered !== undefined) return { check: "P2", reason: uncovered };
    if (plan.changes.length > 0) return undefined;
    const { time } = server;
    const unrecorded = findJournalProblem({
      ...{ nodes: resting, server, tables: plan.tables, hasSnapshots: plan.saves !== undefined },
      ...{ fromMs: START_MS, toMs: time.nowMs },
    });
    return unrecorded === undefined ? undefined : { check: "P2", reason: unrecorded };
  }

  /** Nodes whose application alone makes some rows. */
  #writers(): readonly SimulatedNode[] {
    if (this.#ownership === "any") return [];
    return this.#ownership === "own" ? this.#parts.nodes : this.#parts.writer();
  }

  /** P4: rows that replication has changed although the application's own change of them is the last. */
  #findOverwritten(node: SimulatedNode): string | undefined {
    if (this.#writers().includes(node)) {
      const difference = this.#compareWithOracle(node, node);
      return difference && `replication changed what the only writer wrote: ${difference}`;
    }
    if (this.#isUntold) return undefined;
    for (const { table, key, rows } of node.pendingRows()) {
      const touch = this.#parts.ledger.lastTouch(node.id, table, key);
      if (!touch || isSameRows(touch.rows, rows)) continue;
      return `node ${node.id} has ${table} ${key} pending as ${JSON.stringify(touch.rows)}, and holds ${
        JSON.stringify(rows)
      }`;
    }
    return undefined;
  }

  /** P3: what a node says it has read is not what it holds. */
  #findSkipped(node: SimulatedNode): string | undefined {
    const { server, plan } = this.#parts;
    if (node.isLocked || node.stopped.size > 0) return undefined;
    // Older events lack columns: what they mean goes by each node's schema.
    const isSchemaFixed = plan.changes.length === 0;
    const meaning = this.#meanings.get(node) ?? new Meaning(isSchemaFixed ? plan.tables : []);
    this.#meanings.set(node, meaning);
    for (let shard = 1; shard <= server.shards; shard++) {
      const cursor = node.cursor(shard);
      if (cursor < meaning.cursor(shard)) return `node ${node.id} went back on stream ${shard} to ${cursor}`;
      for (let sequence = meaning.cursor(shard) + 1; sequence <= cursor; sequence++) {
        const message = server.everStored(shard, sequence);
        if (!message) {
          return `node ${node.id} has read message ${sequence} of stream ${shard}, which never was`;
        }
        meaning.take(message);
      }
      const marks = node.marks(shard);
      if (marks !== meaning.marks(shard)) {
        return `node ${node.id} at ${cursor} of stream ${shard} has read of each origin ${marks}, not ${
          meaning.marks(shard)
        }`;
      }
    }
    if (!isSchemaFixed || !node.isQuiet || node.exactFrom.some((from, i) => node.cursor(i + 1) < from)) {
      return undefined;
    }
    const held = node.dump();
    for (const [table, wanted] of meaning.dump()) {
      if (held.get(table) === wanted) continue;
      return `node ${node.id} has read ${table} as\n${wanted}\nand holds\n${held.get(table)}`;
    }
    return undefined;
  }

  #findLost(resting: readonly SimulatedNode[]): string | undefined {
    if (this.#ownership === "any") return undefined;
    const writers = this.#ownership === "own" ? resting : this.#parts.nodes.slice(0, 1);
    for (const writer of writers) {
      for (const node of resting) {
        const difference = this.#compareWithOracle(node, writer);
        if (difference) return `lost change: node ${node.id}, ${difference}`;
      }
    }
    return undefined;
  }

  /** Compares the rows that `writer` alone writes: those of its own numbers in mode "own", all else. */
  #compareWithOracle(node: SimulatedNode, writer: SimulatedNode): string | undefined {
    if (!writer.parts.oracle) return undefined;
    const real = node.dump();
    for (const [table, wanted] of this.#dumpOracle(writer.parts.oracle)) {
      const here = this.#ownRows(real.get(table) ?? "", writer.id);
      const there = this.#ownRows(wanted, writer.id);
      if (here !== there) {
        return `table ${table} of node ${node.id}:\n${here}\nthe application of node ${writer.id} made:\n${there}`;
      }
    }
    return undefined;
  }

  #dumpOracle(oracle: DatabaseSync): Map<string, string> {
    const reader = this.#oracles.get(oracle) ?? new DatabaseReader(oracle);
    this.#oracles.set(oracle, reader);
    if (this.#parts.plan.changes.length > 0) reader.forget();
    return reader.dump(this.#parts.plan.tables);
  }

  #ownRows(content: string, writer: number): string {
    if (this.#ownership !== "own") return content;
    return content.split("\n").filter((line) => {
      const [key = ""] = line.split(", ");
      return key.startsWith("'") ? key.endsWith(`${writer}'`) : Number(key) % 10 === writer;
    }).join("\n");
  }
}

function findUnequal(nodes: readonly SimulatedNode[]): string | undefined {
  const [first, ...others] = nodes;
  const expected = first?.dump();
  for (const node of others) {
    for (const [table, content] of node.dump()) {
      const wanted = expected?.get(table);
      if (content !== wanted) {
        return `node ${node.id} has ${table}:\n${content}\nnode ${first?.id} has:\n${wanted}`;
      }
    }
  }
  return undefined;
}
