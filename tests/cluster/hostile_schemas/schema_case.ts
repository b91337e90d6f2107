/**
 * A hostile schema as one case on two real nodes: its tables, what the applications do with them, and which rows must
 * be there afterwards. Equality alone would not show a change that both nodes lost.
 */
import assert from "node:assert/strict";
import { dumpTables } from "../../../scripts/table_dump.ts";
import { type Cluster, type ClusterNode, waitUntil } from "../../support/cluster.ts";

const TIMEOUT_MS = 10_000;

export interface SchemaCase {
  /** A sentence about behaviour. */
  readonly name: string;
  /** Made on every node before it starts. */
  readonly schema: string;
  /** The tables that must be equal. */
  readonly tables: readonly string[];
  readonly run: (world: World) => Promise<void>;
}

export class World {
  readonly #tables: readonly string[];

  constructor(readonly cluster: Cluster, { tables }: Pick<SchemaCase, "tables">) {
    this.#tables = tables;
  }

  get a(): ClusterNode {
    return this.cluster.node(1);
  }

  get b(): ClusterNode {
    return this.cluster.node(2);
  }

  /** Waits until both nodes hold the same, storage class for storage class. */
  async converge(tables = this.#tables): Promise<void> {
    for (const node of this.cluster.nodes) {
      assert.ok(node.isRunning, `node ${node.id} has ended:\n${node.log}`);
    }
    await waitUntil(() => this.#isConverged(tables), {
      timeoutMs: TIMEOUT_MS,
      what: () =>
        `the nodes do not converge:\n${
          this.cluster.nodes.map((node) => this.#describe(node, tables)).join("\n")
        }`,
    });
  }

  /** Waits until both nodes have read whatever either has captured of this case's tables, applied or not. */
  async readAll(): Promise<void> {
    await waitUntil(() => {
      if (this.cluster.nodes.some((node) => this.#countPending(node, this.#tables) > 0)) return false;
      const [a, b] = this.cluster.nodes.map((node) =>
        JSON.stringify(select(node, "SELECT name, cursor FROM __marmot__stream ORDER BY name"))
      );
      return a === b;
    }, { timeoutMs: TIMEOUT_MS, what: () => "the nodes have not read the same" });
  }

  #isConverged(tables: readonly string[]): boolean {
    if (this.cluster.nodes.some((node) => this.#countPending(node, tables) > 0)) return false;
    const [first, ...others] = this.cluster.nodes.map((node) => this.#dump(node, tables));
    return others.every((dump) => dump === first);
  }

  /** Entries of this case's tables alone: what another case has left behind does not blur the picture. */
  #countPending(node: ClusterNode, tables: readonly string[]): number {
    const names = tables.map((name) => `'${name.replaceAll("'", "''")}'`).join(", ");
    const [row] = select(
      node,
      "SELECT count(*) FROM __marmot__change_log WHERE kind <> 3 AND table_id IN " +
        `(SELECT id FROM __marmot__table WHERE name IN (${names}))`,
    );
    return Number(row?.[0]);
  }

  #dump(node: ClusterNode, tables: readonly string[]): string {
    return JSON.stringify([...dumpTables(node.application, tables)], undefined, 1);
  }

  #describe(node: ClusterNode, tables: readonly string[]): string {
    const log = node.log.split("\n").filter((line) => !/made stream|progress/.test(line)).join("\n");
    return `--- node ${node.id}, ${this.#countPending(node, tables)} entries pending\n` +
      `${this.#dump(node, tables).slice(0, 2000)}\n${log.slice(-2000)}`;
  }

  /** What the query gives on every node. */
  expect(sql: string, rows: readonly (readonly unknown[])[]): void {
    for (const node of this.cluster.nodes) {
      assert.deepEqual(select(node, sql), rows, `node ${node.id}: ${sql}`);
    }
  }
}

export function select(node: ClusterNode, sql: string): unknown[][] {
  const statement = node.application.prepare(sql);
  statement.setReturnArrays(true);
  return statement.all() as unknown as unknown[][];
}

/** `name` as an SQL identifier. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

interface Life {
  readonly table: string;
  readonly key: string;
  readonly value: string;
  /** Four different keys as SQL literals. */
  readonly keys: readonly [string, string, string, string];
}

/** The ordinary life of rows: both nodes insert, each changes and deletes what the other has made, a key moves. */
export async function live(world: World, life: Life): Promise<void> {
  const [table, key, value] = [life.table, life.key, life.value].map(quoted);
  const [first, second, third, fourth] = life.keys;
  const insert = (literal: string, text: string) =>
    `INSERT INTO ${table} (${key}, ${value}) VALUES (${literal}, '${text}')`;
  world.a.sql(insert(first, "one"));
  world.a.sql(insert(second, "two"));
  world.b.sql(insert(third, "three"));
  await world.converge();
  const content = `SELECT quote(${key}), ${value} FROM ${table} ORDER BY ${value}`;
  const stored = select(world.a, content);
  const [one, three, two] = stored.map((row) => row[0]);
  assert.deepEqual(stored.map((row) => row[1]), ["one", "three", "two"]);
  world.expect(content, stored);
  world.a.sql(`UPDATE ${table} SET ${value} = 'THREE' WHERE ${key} = ${third}`);
  world.b.sql(`UPDATE ${table} SET ${key} = ${fourth} WHERE ${key} = ${second}`);
  world.b.sql(`DELETE FROM ${table} WHERE ${key} = ${first}`);
  await world.converge();
  const [, moved] = select(world.b, content).map((row) => row[0]);
  world.expect(content, [[three, "THREE"], [moved, "two"]]);
  assert.equal(new Set([one, two, three, moved]).size, 4);
  world.expect(`SELECT count(*) FROM ${table} WHERE ${key} = ${fourth}`, [[1]]);
}

/** A case that is an ordinary life on one table. */
export function lifeCase(name: string, schema: string, life: Life): SchemaCase {
  return { name, schema, tables: [life.table], run: (world) => live(world, life) };
}
